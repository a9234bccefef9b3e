# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from PIL import Image

from xmoco_plugin.data import (
    LoadImageOrSkip,
    UnreadableImageError,
    decode_image,
    plain_jpeg_size,
)

from .encoders import encode, exif_orientation, scene, write_bad_files, write_odd_files

RGB = Image.fromarray(scene())
XMP = b'<rdf:Description tiff:Orientation="6"/>'


SHORT, LONG = 3, 4


def exif_bytes(order: bytes, value: int, kind: int = SHORT, count: int = 1) -> bytes:
    """An Exif block in either byte order: a width and the orientation, of any TIFF type."""
    short = lambda n: n.to_bytes(2, "little" if order == b"II" else "big")  # noqa: E731
    long = lambda n: n.to_bytes(4, "little" if order == b"II" else "big")  # noqa: E731
    width = short(0x0100) + short(LONG) + long(1) + long(0x01120112)
    held = long(value) if kind == LONG else short(value) + short(0)
    entries = width + short(0x0112) + short(kind) + long(count) + held
    return b"Exif\0\0" + order + short(42) + long(8) + short(2) + entries + long(0)


@pytest.mark.parametrize(
    "options",
    [
        dict(),
        dict(quality=95, subsampling=0),
        dict(subsampling=1),
        dict(optimize=True, comment=b"\xff\xd9"),
        dict(exif=exif_orientation(1)),
        dict(exif=exif_bytes(b"II", 1)),
        dict(exif=exif_bytes(b"MM", 1)),
        dict(icc_profile=b"x" * 70_000),
    ],
    ids=lambda o: "-".join(o) or "default",
)
def test_ordinary_files_have_their_size(options):
    assert plain_jpeg_size(encode(RGB, "JPEG", **options)) == (48, 64)


@pytest.mark.parametrize(
    "content",
    [
        encode(RGB, "JPEG", progressive=True),
        encode(RGB.convert("L"), "JPEG"),
        encode(RGB.convert("CMYK"), "JPEG"),
        encode(RGB, "JPEG", keep_rgb=True),
        encode(RGB, "JPEG", exif=exif_bytes(b"II", 6)),
        encode(RGB, "JPEG", exif=exif_bytes(b"MM", 8)),
        encode(RGB, "JPEG", xmp=XMP),
        encode(RGB, "PNG"),
        b"",
        b"not an image",
    ],
)
def test_what_decoders_may_read_differently_is_not_plain(content):
    assert plain_jpeg_size(content) is None


@pytest.mark.parametrize("value", [1, 6])
@pytest.mark.parametrize("kind", [SHORT, LONG])
@pytest.mark.parametrize("order", [b"II", b"MM"])
def test_a_file_is_plain_only_if_pillow_leaves_it_as_it_is(order, kind, value):
    content = encode(RGB, "JPEG", exif=exif_bytes(order, value, kind))
    assert decode_image(content).shape[:2] == ((48, 64) if value == 1 else (64, 48))
    assert plain_jpeg_size(content) == ((48, 64) if value == 1 else None)


@pytest.mark.parametrize("order", [b"II", b"MM"])
@pytest.mark.parametrize("kind", [k for k in range(14) if k not in (SHORT, LONG)])
def test_an_orientation_of_any_other_type_is_left_to_pillow(order, kind):
    assert plain_jpeg_size(encode(RGB, "JPEG", exif=exif_bytes(order, 1, kind))) is None
    assert plain_jpeg_size(encode(RGB, "JPEG", exif=exif_bytes(order, 1, SHORT, 2))) is None


@pytest.mark.filterwarnings("ignore::UserWarning")  # of Pillow, about metadata that is broken
def test_no_broken_metadata_makes_a_turned_file_plain():
    rng = np.random.default_rng(0)
    turned = plain = 0
    for i in range(2000):
        order, kind, value = (b"II", b"MM")[i % 2], (SHORT, LONG)[i // 2 % 2], (1, 6)[i // 4 % 2]
        exif = bytearray(exif_bytes(order, value, kind))
        for place in rng.integers(6, len(exif), rng.integers(3)):
            exif[place] = rng.integers(9)
        content = encode(RGB, "JPEG", exif=bytes(exif))
        if plain_jpeg_size(content):
            plain += 1
            assert decode_image(content).shape == (48, 64, 3), bytes(exif)
        else:
            turned += decode_image(content).shape == (64, 48, 3)
    assert min(turned, plain) > 200


def test_a_directory_that_goes_on_in_another_segment_is_left_to_pillow():
    # Pillow joins the two. The second alone looks like Exif with an empty directory.
    exif = exif_bytes(b"II", 6)
    entry = b"II*\0" + (8).to_bytes(4, "little") + bytes(4)
    parts = exif[:16], b"Exif\0\0" + entry + exif[28:]
    segments = [b"\xff\xe1" + (len(part) + 2).to_bytes(2, "big") + part for part in parts]
    content = b"\xff\xd8" + b"".join(segments) + encode(RGB, "JPEG")[2:]
    assert decode_image(content).shape[:2] == (64, 48)
    assert plain_jpeg_size(content) is None


def test_the_pixels_of_a_thumbnail_are_no_orientation():
    exif = exif_bytes(b"II", 1) + exif_bytes(b"II", 6)[6:] + exif_bytes(b"MM", 6, LONG)
    content = encode(RGB, "JPEG", exif=exif)
    assert decode_image(content).shape[:2] == plain_jpeg_size(content) == (48, 64)


def test_no_part_of_a_file_is_plain_however_it_is_cut():
    # A thumbnail in the metadata has an end of its own, which is not the file's.
    exif = exif_bytes(b"II", 1) + encode(RGB.resize((8, 8)), "JPEG")
    content = encode(RGB, "JPEG", exif=exif)
    assert plain_jpeg_size(content) == (48, 64)
    assert all(plain_jpeg_size(content[:end]) is None for end in range(len(content) - 1))
    assert plain_jpeg_size(content + b"more") == (48, 64)


def test_plain_files_stay_files_and_all_others_are_decoded_or_skipped_as_before(tmp_path):
    names = [*write_odd_files(tmp_path), *write_bad_files(tmp_path)]
    (tmp_path / "plain.jpg").write_bytes(encode(RGB, "JPEG"))
    load = LoadImageOrSkip(defer_jpegs=True)
    results = load(dict(img_path=tmp_path / "plain.jpg"))
    assert bytes(results["img"]) == (tmp_path / "plain.jpg").read_bytes()
    assert results["img_shape"] == results["ori_shape"] == (48, 64)
    before = LoadImageOrSkip()
    for name in names:
        expected = before(dict(img_path=tmp_path / name))
        found = load(dict(img_path=tmp_path / name))
        assert (found is None) == (expected is None), name
        if found is not None:
            np.testing.assert_array_equal(found["img"], expected["img"])
            assert found.get("skipped") == expected.get("skipped")
    plain = dict(img_path=tmp_path / "plain.jpg")
    assert load(dict(plain))["skipped"] == before(dict(plain))["skipped"]


@pytest.mark.parametrize("limit", [dict(min_side=49), dict(max_pixels=48 * 64 - 1)])
def test_the_limits_of_size_hold_for_files_too(limit):
    load = LoadImageOrSkip(on_error="raise", defer_jpegs=True, **limit)
    with pytest.raises(UnreadableImageError, match="64x48 px"):
        load(dict(img_path="a.jpg", img_bytes=encode(RGB, "JPEG")))
