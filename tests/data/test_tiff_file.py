# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Windows of TIFFs: what the whole has there, however it is stored; and what is wrong, by name."""

import itertools
import struct
import zlib

import numpy as np
import pytest
import tifffile

from xmoco_plugin.data import UnreadableImageError, tiff_file
from xmoco_plugin.data.tiff_file import TiffPicture

from .tiffs import noise, write

WINDOWS = ((0, 0, 75, 101), (9, 17, 32, 32), (43, 69, 32, 32))
STORED = (dict(rowsperstrip=16), dict(tile=(32, 48)))


@pytest.mark.parametrize("compression", [None, "zlib", "lzw", "zstd", "jpeg"])
def test_a_window_is_what_the_whole_has_there(tmp_path, compression):
    if compression not in (None, "zlib"):
        pytest.importorskip("imagecodecs")
    kinds = [("uint8", 3), ("uint8", 4), ("uint16", 8), ("float32", 2), ("uint8", 1)]
    kinds = [("uint8", 3), ("uint8", 1)] if compression == "jpeg" else kinds
    for number, (stored, planar, (kind, samples)) in enumerate(
        itertools.product(STORED, (False, True), kinds)
    ):
        predicted = compression in ("zlib", "lzw", "zstd") and kind != "float32"
        settings = dict(
            stored,
            compression=compression,
            predictor=True if predicted else None,
            bigtiff=number % 3 == 0,
            byteorder="<>"[number % 2],
        )
        pixels = noise(75, 101, samples, kind)
        path = write(tmp_path / "x.tif", pixels, planar and samples > 1, **settings)
        if compression == "jpeg":  # with losses: what tifffile makes of all of it
            pixels = tifffile.imread(path)
            pixels = pixels.transpose(1, 2, 0) if planar and samples > 1 else pixels
            pixels = pixels.reshape(75, 101, samples)
        with TiffPicture(path) as tiff:
            for top, left, height, width in WINDOWS:
                found = tiff.read(top, left, height, width)
                assert found.dtype == np.dtype(kind)
                wanted = pixels[top : top + height, left : left + width]
                assert np.array_equal(found, wanted), (settings, kind, samples)


def test_only_the_parts_that_a_window_touches_are_decoded(tmp_path, monkeypatch):
    path = write(tmp_path / "x.tif", noise(128, 128, 3), tile=(32, 32), compression="zlib")
    with TiffPicture(path) as tiff:
        seen = []
        whole = tiff._decoded
        monkeypatch.setattr(tiff, "_decoded", lambda index: seen.append(index) or whole(index))
        tiff.read(32, 48, 32, 32)
        assert seen == [5, 6]
        assert tiff.cost(32) == 1.0
    path = write(tmp_path / "y.tif", noise(128, 128, 3), rowsperstrip=8, compression="zlib")
    with TiffPicture(path) as tiff:
        assert tiff.cost(32) == 4.0  # strips are as wide as the picture


def test_a_part_that_was_never_written_is_nodata(tmp_path):
    path = tmp_path / "x.tif"
    parts = (b"" if n == 1 else zlib.compress(b"\7" * 1024) for n in range(4))
    with tifffile.TiffWriter(path) as file:
        file.write(
            parts,
            shape=(64, 64),
            dtype="uint8",
            tile=(32, 32),
            compression="zlib",
            extratags=[(42113, "s", 0, "9", True)],
        )
    with TiffPicture(path) as tiff:
        assert tiff.look.nodata == 9
        found = tiff.read(0, 0, 64, 64)
    assert (found[:32, 32:] == 9).all()
    assert (found[32:] == 7).all()


def test_the_first_page_is_read_and_what_follows_is_named(tmp_path):
    with tifffile.TiffWriter(tmp_path / "pages.tif") as file:
        for number in range(3):
            file.write(noise(32, 32, 3, seed=number), photometric="rgb")
    with tifffile.TiffWriter(tmp_path / "pyramid.tif") as file:
        file.write(noise(64, 64, 3), photometric="rgb")
        file.write(noise(32, 32, 3), photometric="rgb", subfiletype=1)
    with TiffPicture(tmp_path / "pages.tif") as tiff:
        assert tiff.look.further == "pages"
        assert np.array_equal(tiff.read(0, 0, 32, 32), noise(32, 32, 3))
    with TiffPicture(tmp_path / "pyramid.tif") as tiff:
        assert (tiff.look.further, tiff.look.width) == ("smaller copies", 64)


@pytest.mark.parametrize("compression", [None, "zlib"])
def test_a_file_that_is_cut_off_says_so_where_it_is_missing(tmp_path, compression):
    path = tmp_path / "x.tif"
    tile = None if compression is None else (32, 32)
    write(path, noise(128, 128, 3), compression=compression, tile=tile)
    path.write_bytes(path.read_bytes()[:-2000])
    with TiffPicture(path) as tiff, pytest.raises(UnreadableImageError, match="truncated"):
        tiff.read(96, 96, 32, 32)


def test_a_part_that_inflates_beyond_its_pixels_is_refused_before_it_does(tmp_path, monkeypatch):
    path = write(tmp_path / "x.tif", noise(32, 32, 1), tile=(32, 32), compression="zlib")
    monkeypatch.setattr(tiff_file, "imagecodecs", None)
    bomb, content = zlib.compress(bytes(1 << 20)), bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        tags = {code: file.pages[0].tags[code].valueoffset for code in (324, 325)}
    struct.pack_into("<I", content, tags[324], len(content))
    struct.pack_into("<I", content, tags[325], len(bomb))
    path.write_bytes(bytes(content) + bomb)
    with TiffPicture(path) as tiff, pytest.raises(UnreadableImageError, match="more than its pix"):
        tiff.read(0, 0, 32, 32)


def test_without_the_libraries_the_message_names_them(tmp_path, monkeypatch):
    path = write(tmp_path / "x.tif", noise(32, 32, 3))
    content = bytearray(path.read_bytes())
    with tifffile.TiffFile(path) as file:
        place = file.pages[0].tags[259].valueoffset
    struct.pack_into("<H", content, place, 5)  # LZW
    (tmp_path / "lzw.tif").write_bytes(content)
    monkeypatch.setattr(tiff_file, "imagecodecs", None)
    with pytest.raises(UnreadableImageError, match="compression 5 needs imagecodecs: pip install"):
        TiffPicture(tmp_path / "lzw.tif")
    monkeypatch.setattr(tiff_file, "tifffile", None)
    with pytest.raises(UnreadableImageError, match="needs tifffile: pip install tifffile"):
        TiffPicture(path)


def test_what_is_no_tiff_or_of_no_kind_that_is_read_says_which(tmp_path):
    (tmp_path / "x.tif").write_bytes(b"II*\0" + bytes(40))
    with pytest.raises(UnreadableImageError, match="damaged or truncated"):
        TiffPicture(tmp_path / "x.tif")
    with pytest.raises(UnreadableImageError, match="complex64"):
        TiffPicture(write(tmp_path / "y.tif", noise(32, 32, 1, "complex64")))
