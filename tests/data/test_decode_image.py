# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import io
import os
import warnings
from contextlib import suppress
from functools import partial

import numpy as np
import pytest
from PIL import Image, ImageFile

from xmoco_plugin.data import UnreadableImageError, decode_image
from xmoco_plugin.data.decode_image import IMAGENET_MEAN_RGB, read_image_file
from xmoco_plugin.untrusted.image_formats import FORMATS

from .encoders import encode, exif_orientation, scene, write_bad_files, write_odd_files

RAMP8 = np.arange(256, dtype=np.uint8).reshape(16, 16)
RAMP16 = RAMP8.astype(np.uint16) * 257  # 0 .. 65535


def grey_of(bgr: np.ndarray) -> np.ndarray:
    """The one value of each pixel of a grey image."""
    assert (bgr == bgr[:, :, :1]).all(), "channels differ"
    return bgr[:, :, 0]


def test_colour_comes_out_as_bgr_bit_for_bit():
    rgb = scene()
    for kind in ("PNG", "BMP", "TIFF", "PPM"):
        np.testing.assert_array_equal(decode_image(encode(rgb, kind)), rgb[:, :, ::-1])


def test_the_array_is_contiguous_uint8_and_may_be_written_to(tmp_path):
    for name in write_odd_files(tmp_path):
        image = decode_image((tmp_path / name).read_bytes())
        assert image.dtype == np.uint8, name
        assert image.ndim == 3, name
        assert image.shape[2] == 3, name
        assert image.flags.c_contiguous, name
        image[0, 0] = 7


def test_a_jpeg_is_what_pillow_makes_of_it():
    content = encode(scene(), "JPEG", quality=90)
    expected = np.asarray(Image.open(io.BytesIO(content)))[:, :, ::-1]
    np.testing.assert_array_equal(decode_image(content), expected)


@pytest.mark.parametrize("kind", ["PNG", "TIFF", "PPM"])
def test_a_16_bit_ramp_maps_to_the_8_bit_ramp_instead_of_saturating(kind):
    np.testing.assert_array_equal(grey_of(decode_image(encode(RAMP16, kind))), RAMP8)


def test_16_bit_colour_maps_by_its_high_byte():
    cv2 = pytest.importorskip("cv2")
    bgr16 = np.stack([RAMP16, RAMP16[::-1], RAMP16.T], axis=2)
    _, content = cv2.imencode(".png", bgr16)
    np.testing.assert_array_equal(decode_image(content.tobytes()), bgr16 >> 8)


def test_bit_depth_12_uses_the_full_range_of_a_12_bit_camera():
    ramp12 = RAMP8.astype(np.uint16) << 4  # 0 .. 4080
    content = encode(ramp12, "PNG")
    np.testing.assert_array_equal(grey_of(decode_image(content, bit_depth=12)), RAMP8)
    assert decode_image(content).max() == 15
    assert (
        decode_image(encode(np.full((2, 2), 5000, np.uint16), "PNG"), bit_depth=12) == 255
    ).all()


def test_32_bit_integers_beyond_16_bits_are_stretched():
    values = np.array([[-1000, 0], [500, 1000]], np.int32)
    expected = np.rint((values + 1000) * 255 / 2000).astype(np.uint8)
    np.testing.assert_array_equal(grey_of(decode_image(encode(values, "TIFF"))), expected)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([[0.0, 0.5], [0.25, 1.0]], [[0, 128], [64, 255]]),  # [0, 1]
        ([[0.0, 7.4], [7.6, 255.0]], [[0, 7], [8, 255]]),  # [0, 255]
        ([[-2.0, 0.0], [0.0, 2.0]], [[0, 128], [128, 255]]),  # anything else: stretched
        ([[3000.0, 3000.0]], [[0, 0]]),  # constant: no division by zero
    ],
)
def test_floats_follow_the_documented_ranges(values, expected):
    image = decode_image(encode(np.array(values, np.float32), "TIFF"))
    np.testing.assert_array_equal(grey_of(image), expected)


def test_nan_is_named_not_cast():
    values = np.array([[0, np.nan], [np.inf, 1]], np.float32)
    with pytest.raises(UnreadableImageError, match="2 of 4 pixels are NaN or infinite"):
        decode_image(encode(values, "TIFF"))


def test_cmyk_red_is_red():
    cmyk = Image.new("CMYK", (16, 16), (0, 255, 255, 0))
    b, g, r = decode_image(encode(cmyk, "JPEG", quality=95))[8, 8].astype(int)
    assert (r > 240, g < 15, b < 15) == (True, True, True)


def test_a_palette_gives_its_colours_and_not_its_indices():
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 10, 200, 90])
    assert decode_image(encode(image, "PNG"))[0, 0].tolist() == [90, 200, 10]


def test_grey_and_two_valued_images_get_three_equal_channels():
    np.testing.assert_array_equal(grey_of(decode_image(encode(RAMP8, "PNG"))), RAMP8)
    bits = Image.fromarray(RAMP8).convert("1")
    assert set(np.unique(grey_of(decode_image(encode(bits, "PNG"))))) == {0, 255}


def test_transparent_pixels_show_the_background_and_half_of_it_shows_half():
    rgba = Image.new("RGBA", (3, 1), (200, 100, 50, 255))
    rgba.putpixel((1, 0), (200, 100, 50, 0))
    rgba.putpixel((2, 0), (200, 100, 50, 128))
    opaque, clear, half = decode_image(encode(rgba, "PNG"))[0].astype(int)
    assert opaque.tolist() == [50, 100, 200]
    assert clear.tolist() == list(IMAGENET_MEAN_RGB[::-1])
    assert np.abs(half - (opaque + clear) / 2).max() <= 1
    white = decode_image(encode(rgba, "PNG"), background=(255, 255, 255))
    assert white[0, 1].tolist() == [255, 255, 255]


def test_every_kind_of_transparency_shows_the_background():
    mean = list(IMAGENET_MEAN_RGB[::-1])
    palette = Image.new("P", (2, 2), 1)
    palette.putpalette([0, 0, 0, 10, 200, 90])
    contents = {
        "palette index": encode(palette, "PNG", transparency=1),
        "palette alpha": encode(palette, "PNG", transparency=bytes([255, 0])),
        "gif": encode(palette, "GIF", transparency=1),
        "grey with alpha": encode(Image.new("LA", (2, 2), (9, 0)), "PNG"),
        "colour key": encode(Image.new("RGB", (2, 2), (9, 8, 7)), "PNG", transparency=(9, 8, 7)),
        "grey key": encode(Image.new("L", (2, 2), 9), "PNG", transparency=9),
    }
    for kind, content in contents.items():
        assert decode_image(content)[0, 0].tolist() == mean, kind


# Where a mark in the top left of the stored picture stands once it is shown upright.
CORNERS = {1: "tl", 2: "tr", 3: "br", 4: "bl", 5: "tl", 6: "tr", 7: "br", 8: "bl"}


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "WEBP"])
def test_exif_orientation_moves_the_marked_corner(kind, orientation):
    stored = np.zeros((16, 48, 3), np.uint8)
    stored[:8, :8] = 255
    options = dict(lossless=True) if kind == "WEBP" else {}
    image = decode_image(encode(stored, kind, exif=exif_orientation(orientation), **options))
    assert image.shape[:2] == ((16, 48) if orientation <= 4 else (48, 16))
    corners = dict(tl=image[2, 2], tr=image[2, -3], bl=image[-3, 2], br=image[-3, -3])
    bright = [name for name, pixel in corners.items() if pixel.min() > 128]
    assert bright == [CORNERS[orientation]]


def test_broken_exif_does_not_cost_the_pixels():
    content = encode(scene(), "JPEG", exif=b"Exif\x00\x00II*\x00\x08\x00\x00\x00\xff\xff")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert decode_image(content).shape == (48, 64, 3)


def test_of_an_animation_and_of_a_document_the_first_frame_is_read():
    colours = [(250, 0, 0), (0, 250, 0), (0, 0, 250)]
    first, *others = [Image.new("RGB", (8, 8), colour) for colour in colours]
    for kind in ("GIF", "TIFF", "WEBP", "PNG"):
        content = encode(first, kind, save_all=True, append_images=others)
        b, g, r = decode_image(content)[4, 4].astype(int)
        assert (r > 240, g < 10, b < 10) == (True, True, True), kind


def test_one_pixel_is_an_image_unless_min_side_says_otherwise():
    content = encode(np.full((1, 1, 3), (3, 2, 1), np.uint8), "PNG")
    assert decode_image(content).tolist() == [[[1, 2, 3]]]
    with pytest.raises(UnreadableImageError, match="1x1 px is below the minimum side of 8 px"):
        decode_image(content, min_side=8)


def test_bad_files_are_errors_that_say_why(tmp_path):
    for name, word in write_bad_files(tmp_path).items():
        with pytest.raises(UnreadableImageError, match=word):
            decode_image((tmp_path / name).read_bytes())


@pytest.mark.parametrize("share", [0.2, 0.5, 0.9, 0.99])
@pytest.mark.parametrize("kind", ["JPEG", "PNG", "TIFF", "BMP", "WEBP", "GIF"])
def test_a_file_that_ends_early_is_an_error_even_where_pillow_was_told_to_tolerate(
    kind, share, monkeypatch
):
    monkeypatch.setattr(ImageFile, "LOAD_TRUNCATED_IMAGES", True)
    content = encode(scene(), kind)
    with pytest.raises(UnreadableImageError):
        decode_image(content[: int(len(content) * share)])
    assert ImageFile.LOAD_TRUNCATED_IMAGES is True, "the caller's setting was not restored"


def test_a_progressive_jpeg_that_ends_early_is_an_error():
    content = encode(scene(), "JPEG", progressive=True)
    with pytest.raises(UnreadableImageError, match="truncated"):
        decode_image(content[: len(content) * 3 // 4])


def test_a_decompression_bomb_is_refused_before_it_is_unpacked(monkeypatch):
    content = encode(Image.new("1", (5000, 4000)), "PNG")
    assert len(content) < 10_000
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda self: pytest.fail("was unpacked"))
    with pytest.raises(UnreadableImageError, match=r"5000x4000 px is above .* 1000000 pixels"):
        decode_image(content, max_pixels=1_000_000)


def test_the_limit_of_pixels_is_ours_and_pillows_is_put_back(monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    content = encode(Image.new("1", (500, 400)), "PNG")
    assert decode_image(content).shape == (400, 500, 3)
    assert Image.MAX_IMAGE_PIXELS == 1000


def test_an_image_of_20_kb_whose_pixels_would_take_gigabytes_is_refused_by_default():
    content = encode(Image.new("1", (13_000, 13_000)), "PNG")
    assert len(content) < 30_000
    with pytest.raises(UnreadableImageError, match="13000x13000 px is above the limit of 128000"):
        decode_image(content)


def test_every_format_of_the_list_is_read_and_no_other_decoder_is_asked(monkeypatch):
    asked = []
    for name, (factory, accept) in list(Image.OPEN.items()):
        note = partial(lambda made, which, *a: asked.append(which) or made(*a), factory, name)
        monkeypatch.setitem(Image.OPEN, name, (note, accept))
    for kind in FORMATS:
        if kind.pillow not in Image.SAVE:
            continue  # a Pillow without AVIF
        assert decode_image(encode(scene(), kind.pillow)).shape == (48, 64, 3)
        assert asked.pop() == kind.pillow
        assert not asked
    for kind in sorted(set(Image.SAVE) - {kind.pillow for kind in FORMATS} - {"MPO", "DIB"}):
        buffer = io.BytesIO()
        with suppress(Exception):  # a format that does not take the picture
            Image.fromarray(scene()).save(buffer, kind)
        with pytest.raises(UnreadableImageError, match=r"not |empty"):
            decode_image(buffer.getvalue())
    assert not asked


OTHERS = {
    "PostScript": b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 64 64\nshowpage\n",
    "PDF": b"%PDF-1.7\n",
    "SVG": b'<?xml version="1.0"?>\n<svg xmlns="http://www.w3.org/2000/svg"/>',
    "HTML": b"<!DOCTYPE html><html>",
    "Photoshop": b"8BPS\0\1",
    "HEIC": b"\0\0\0\x18ftypheic\0\0\0\0mif1heic",
    "MP4 video": b"\0\0\0\x18ftypisom\0\0\2\0isommp41",
    "DICOM": bytes(128) + b"DICM",
    "a zip archive": b"PK\3\4",
    "gzip": b"\x1f\x8b\x08",
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_is_no_image_is_named_by_its_first_bytes(name):
    with pytest.raises(UnreadableImageError, match=rf"^{name}, not one of the formats read \(JPEG"):
        decode_image(OTHERS[name])


def test_a_file_is_what_its_first_bytes_say_and_not_what_its_ending_says(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(scene(), "PNG"))
    np.testing.assert_array_equal(
        decode_image(read_image_file(tmp_path / "a.jpg")), scene()[:, :, ::-1]
    )


@pytest.mark.timeout(20)
def test_a_pipe_and_a_file_above_the_limit_are_unreadable_images(tmp_path):
    os.mkfifo(tmp_path / "a.jpg")
    (tmp_path / "b.jpg").write_bytes(bytes(100))
    with pytest.raises(UnreadableImageError, match="not a regular file: a named pipe"):
        read_image_file(tmp_path / "a.jpg")
    with pytest.raises(UnreadableImageError, match="100 bytes, the limit is 99 bytes"):
        read_image_file(tmp_path / "b.jpg", limit=99)


def test_lack_of_memory_is_not_blamed_on_the_file(monkeypatch):
    def load(self):
        raise MemoryError

    monkeypatch.setattr(ImageFile.ImageFile, "load", load)
    with pytest.raises(MemoryError):
        decode_image(encode(scene(), "BMP"))
