# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Metadata that would keep Pillow busy for minutes are refused; those of photographs are not."""

import io
import re

import pytest
from PIL import Image, ImageFile, PngImagePlugin

from xmoco_plugin.untrusted import FileRefusedError, image_size, open_image


def encoded(kind: str, **options) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (20, 10), (200, 90, 30)).save(file, kind, **options)
    return file.getvalue()


def gif(comments: int) -> bytes:
    content = encoded("GIF")
    place = content.index(b"\x2c", 13 + 3 * (2 << (content[10] & 7)))
    comment = b"!\xfe" + (b"\xff" + b"a" * 255) * comments + b"\0"
    return content[:place] + comment + content[place:]


def jpeg(parts: int, size: int) -> bytes:
    content = encoded("JPEG")
    part = b"\xff\xe1" + (size + 2).to_bytes(2, "big") + b"Exif\0\0".ljust(size, b"a")
    return content[:2] + part * parts + content[2:]


def png(parts: int, size: int) -> bytes:
    content = encoded("PNG")
    end = content.index(b"IDAT") - 4
    file = io.BytesIO()
    for _ in range(parts):
        PngImagePlugin.putchunk(file, b"prVt", bytes(size))
    return content[:end] + file.getvalue() + content[end:]


def ppm(comment: int) -> bytes:
    return b"P6\n#" + b"a" * comment + b"\n20 10\n255\n" + bytes(600)


KINDS = {
    "gif": (gif(4000), gif(40_000), "more than 1.0 MB of metadata"),
    "jpeg, many": (jpeg(300, 60_000), jpeg(2000, 8), "more than 1,000 parts"),
    "jpeg, large": (jpeg(300, 60_000), jpeg(600, 65_000), "more than 33.6 MB of metadata"),
    "png, many": (png(500, 10), png(2000, 1), "more than 1,000 parts"),
    "png, large": (png(1, 1_000_000), png(1, 40_000_000), "more than 33.6 MB of metadata"),
    "ppm": (ppm(60_000), ppm(5_000_000), "a header of more than 65.5 kB"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", KINDS)
def test_more_metadata_than_any_image_has_is_refused_at_once(name):
    usual, hostile, reason = KINDS[name]
    with open_image(usual) as image:
        assert image.size == (20, 10)
        image.load()
    with pytest.raises(FileRefusedError, match=re.escape(reason)), open_image(hostile):
        pass


@pytest.mark.parametrize("kind", ["GIF", "JPEG", "PNG", "PPM"])
def test_a_header_that_is_cut_off_is_left_to_the_decoder(kind):
    content = encoded(kind)
    for end in range(1, 60):
        with pytest.raises(Exception, match=r".") as error, open_image(content[:end]) as image:
            image.load()
        assert "metadata" not in str(error.value)


def test_the_size_of_a_png_is_told_without_its_pixels_wherever_its_exif_stands(tmp_path):
    turned = Image.Exif()
    turned[0x0112] = 6
    file = io.BytesIO()
    Image.new("L", (30, 20)).save(file, "PNG", exif=turned)
    whole = file.getvalue()
    at = whole.index(b"eXIf") - 4
    length = int.from_bytes(whole[at : at + 4], "big") + 12
    part, rest = whole[at : at + length], whole[:at] + whole[at + length :]
    behind = rest[:-12] + part + rest[-12:]  # before IEND
    claims = rest[:-12] + (0xFFFFFFF0).to_bytes(4, "big") + b"IDAT"  # 4 GB that are not there
    path = tmp_path / "a.png"
    sizes = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("decoded"))
        for content in (whole, behind, rest, claims):
            path.write_bytes(content)
            sizes.append(image_size(path))
    assert sizes == [(20, 30), (20, 30), (30, 20), (30, 20)]
    path.write_bytes(behind)
    with Image.open(path) as image:
        assert image.getexif()[0x0112] == 6  # as Pillow has it
