# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The scan of large pictures: how many tiles, what is left out, and how they will be read."""

import json

import numpy as np
import pytest
import tifffile
from PIL import Image

from xmoco_plugin.pretraining import (
    PretrainError,
    check_number,
    check_sides,
    describe,
    describe_reading,
    reading_of,
    scan_images,
)

from ..data.tiffs import noise, write


@pytest.fixture
def pictures(tmp_path):
    """Paths: a tiled TIFF with a black corner, a PNG, one too small, a cut one, 12-bit grey."""
    first = noise(130, 200, 3)
    first[:64, :64] = 0
    write(tmp_path / "a.tif", first, tile=(32, 32), compression="zlib")
    Image.fromarray(noise(130, 128, 3, seed=1)).save(tmp_path / "b.png")
    Image.fromarray(noise(60, 90, 3)).save(tmp_path / "c.png")
    cut = write(tmp_path / "d.tif", noise(128, 128, 3), tile=(32, 32), compression="zlib")
    cut.write_bytes(cut.read_bytes()[:-9000])
    write(tmp_path / "e.tif", noise(64, 128, 1, "uint16") * 16, tile=(32, 32))
    return [str(path) for path in sorted(tmp_path.iterdir())]


def scan(paths, folder, side=64, **options):
    return scan_images(paths, folder / "scan_tiles.jsonl", side=side, **options)


def test_tiles_are_counted_and_what_is_left_out_is_named(pictures, tmp_path):
    found = scan(pictures, tmp_path)
    assert [path[-5:] for path in found.good] == ["a.tif", "b.png", "e.tif"]
    # 2 x 3 (8 px of 200 are an eighth), less the black one; 2 x 2; 1 x 2.
    assert found.tiles.places[:, 0].tolist() == [0] * 7 + [1] * 4 + [2] * 2
    assert [0, 0, 0] not in found.tiles.places.tolist()
    assert found.tiles.empty == 1
    assert found.items == len(found.item_sides) == 13
    assert found.bit_depth == 12
    reasons = {path[-5:]: reason for path, reason in found.bad}
    assert reasons["c.png"] == "90x60 px is smaller than a tile of 64 px"
    assert "truncated: part" in reasons["d.tif"]
    said = "\n".join(describe(found, 32))
    for text in (
        "tiles: 13 of 64 px, 2 to 7 a picture; at a border the last is moved inwards",
        "tiles left out: 1 of one colour",
        "decoded whole for their tiles: 1 pictures, up to 49.9 kB each",
        "16-bit grey: 1 images, values up to 3,984: read as 12 bits",
    ):
        assert text in said
    assert "smaller than the views" not in said
    assert check_sides(found, 64) == (
        "--tiles 64: tiles are larger than 1 of 5 pictures; the smallest has 90x60 px; they are "
        "left out (leave --tiles out)"
    )


def test_a_second_scan_opens_nothing_and_one_in_other_tiles_looks_anew(pictures, tmp_path):
    first = scan(pictures, tmp_path)
    lines = (tmp_path / "scan_tiles.jsonl").read_text()
    again = scan(pictures, tmp_path)
    assert (tmp_path / "scan_tiles.jsonl").read_text() == lines
    assert np.array_equal(again.tiles.places, first.tiles.places)
    assert (
        again.digests == first.digests == scan_images(first.good, tmp_path / "whole.jsonl").digests
    )
    assert len(scan(pictures, tmp_path, side=128).tiles.places) == 3
    odd = [json.loads(line) for line in lines.splitlines() if line]
    odd = [line | {"empty": [-1]} for line in odd if "empty" in line]
    (tmp_path / "scan_tiles.jsonl").write_text("".join(json.dumps(line) + "\n" for line in odd))
    assert np.array_equal(scan(pictures, tmp_path).tiles.places, first.tiles.places)


def test_tiles_that_no_picture_holds_are_refused_with_the_smallest(pictures, tmp_path):
    found = scan(pictures[1:3], tmp_path, side=256)
    with pytest.raises(PretrainError, match="larger than 2 of 2 pictures; the smallest has 90x60"):
        check_sides(found, 256)
    found = scan(pictures[:1], tmp_path, side=128)
    with pytest.raises(PretrainError, match=r"^2 tiles of 128 px .*smaller --tiles"):
        check_number(found)
    # Copies of a picture are not different.
    assert scan([pictures[0], pictures[0]], tmp_path).different == 7


def test_what_is_decoded_whole_decides_how_many_pictures_are_mixed(pictures, tmp_path):
    tiles = scan(pictures, tmp_path).tiles
    held = 130 * 128 * 3
    assert tiles.held == held
    assert reading_of(tiles, 3, 10**9, 2) == (64, None, 125_000_000)
    many = tiles._replace(whole=40)
    reading = reading_of(many, 50, 80 * held, 2)  # a quarter of it, for two workers
    assert reading == (64, 10, 10 * held)
    assert len(list(describe_reading(reading))) == 1
    few = list(describe_reading(reading_of(many, 50, 1, 2)))
    assert "tiles of 1 pictures are mixed" in few[0]
    assert "store the pictures as tiled TIFFs" in few[1]


def test_large_pictures_are_named_with_the_tiles_that_they_would_give(tmp_path):
    write(tmp_path / "a.tif", noise(4, 4, 3).repeat(600, 0).repeat(520, 1), compression="zlib")
    path = str(tmp_path / "a.tif")
    said = "\n".join(describe(scan_images([path], tmp_path / "s.jsonl"), 224))
    assert "--tiles 512 trains on 20 tiles in their full resolution" in said
    assert "--tiles" not in "\n".join(describe(scan_images([path], tmp_path / "s.jsonl"), 300))
    left = scan_images([path], tmp_path / "t.jsonl", max_pixels=99)
    assert "above the limit of 99 pixels (max_pixels)" in left.bad[0][1]


def test_pages_beside_the_one_that_is_read_are_said(tmp_path):
    with tifffile.TiffWriter(tmp_path / "x.tif") as file:
        for number in range(2):
            file.write(noise(64, 64, 3, seed=number), photometric="rgb")
    for side in (None, 64):
        found = scan_images([str(tmp_path / "x.tif")], tmp_path / "s.jsonl", side=side)
        said = "\n".join(describe(found))
        assert "TIFFs with pages beside the first image, which alone is read: 1 " in said
