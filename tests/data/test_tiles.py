# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Tiles as samples: where they lie, what is in them, and in which order they come."""

import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import DefaultSampler
from PIL import Image

from xmoco_plugin.data import (
    LoadTileOrSkip,
    PicturesTogether,
    TiledImages,
    UnreadableImageError,
    decode_image,
    pictures,
    tiff_file,
)
from xmoco_plugin.data.picture_reader import PictureReader
from xmoco_plugin.data.tile_grid import (
    is_empty,
    read_tiles,
    tile_grid,
    tile_starts,
    valid_pixels,
    write_tiles,
)
from xmoco_plugin.resuming.loader import place_loader

from .tiffs import noise, write

SIDE = 32
# Path -> whether windows of it are read; the others are decoded whole.
PICTURES = {
    "grey.png": False,
    "exif.jpg": False,
    "palette.tif": False,
    "rgb.tif": True,
    "alpha.tif": True,
    "deep.tif": True,
    "big.tif": True,
    "one_strip.tif": False,
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A picture of each kind."""
    root = tmp_path_factory.mktemp("pictures")
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(noise(70, 90, 1)[..., 0]).save(root / "grey.png")
    Image.fromarray(noise(70, 90, 3)).save(root / "exif.jpg", exif=exif)
    Image.fromarray(noise(70, 90, 3)).quantize(16).save(root / "palette.tif")
    write(root / "rgb.tif", noise(70, 90, 3), tile=(16, 16), compression="zlib")
    write(root / "alpha.tif", noise(70, 90, 4), extrasamples=["unassalpha"])
    write(root / "deep.tif", noise(70, 90, 1, "uint16") * 16, rowsperstrip=8, compression="zlib")
    write(root / "big.tif", noise(70, 90, 3), tile=(32, 32), bigtiff=True, planar=True)
    write(root / "one_strip.tif", noise(320, 640, 3), rowsperstrip=320, compression="zlib")
    return root


def test_tiles_lie_side_by_side_and_the_last_is_moved_inwards():
    assert tile_starts(96, 32) == [0, 32, 64]
    assert tile_starts(100, 32) == [0, 32, 64, 68]  # 4 px, an eighth of a tile, are new
    assert tile_starts(99, 32) == [0, 32, 64]  # 3 px are not worth one
    assert tile_starts(32, 32) == [0]
    assert tile_starts(31, 32) == []
    with pytest.raises(UnreadableImageError, match="have more than 4,194,304 tiles of 64 px"):
        tile_grid(1 << 31, 1 << 31, 64)
    assert tile_grid(40, 70, 32).tolist() == [[0, 0], [0, 32], [0, 38], [8, 0], [8, 32], [8, 38]]


def test_a_tile_is_empty_if_it_is_of_one_colour_or_mostly_without_values():
    pixels = noise(8, 8, 4)
    assert not is_empty(pixels, valid_pixels(pixels))
    assert is_empty(np.full_like(pixels, 7))
    half = pixels.copy()
    half[:4] = 0
    assert valid_pixels(half) is None
    assert not is_empty(half, valid_pixels(half, nodata=0))
    half[4] = 0
    assert is_empty(half, valid_pixels(half, nodata=0))
    seen = pixels.copy()
    seen[..., 3] = 0
    assert is_empty(seen, valid_pixels(seen, alpha=True))
    floats = pixels.astype(np.float32)
    floats[:6, :, 1] = np.nan
    assert is_empty(floats, valid_pixels(floats))
    # What is valid is of one colour.
    floats[6:] = 3
    assert is_empty(floats[4:], valid_pixels(floats[4:]))


@pytest.mark.parametrize("name", PICTURES)
def test_a_tile_is_the_crop_of_the_whole_picture_bit_by_bit(folder, name):
    path = folder / name
    whole = decode_image(path.read_bytes(), bit_depth=12)
    load = LoadTileOrSkip(SIDE, on_error="raise", bit_depth=12)
    assert (load.reader.open(path).held == 0) == PICTURES[name]
    for top, left in tile_grid(*whole.shape[:2], SIDE)[-3:].tolist():
        found = load.transform(dict(img_path=str(path), tile=(top, left)))
        assert np.array_equal(found["img"], whole[top : top + SIDE, left : left + SIDE])
        assert found["img_shape"] == (SIDE, SIDE)
    assert np.array_equal(load.transform(dict(img_path=str(path)))["img"], whole)


def test_a_limit_of_pixels_is_of_what_is_decoded_whole(folder):
    load = LoadTileOrSkip(SIDE, on_error="raise", max_pixels=40 * 40)
    load.transform(dict(img_path=str(folder / "rgb.tif"), tile=(0, 0)))
    with pytest.raises(UnreadableImageError, match="above the limit of 1600 pixels"):
        load.transform(dict(img_path=str(folder / "grey.png"), tile=(0, 0)))
    with pytest.raises(UnreadableImageError, match="it has changed"):
        load.transform(dict(img_path=str(folder / "rgb.tif"), tile=(60, 0)))


def test_what_would_have_a_large_tiff_read_in_parts_is_said(folder, monkeypatch):
    load = LoadTileOrSkip(SIDE, on_error="raise", max_pixels=40 * 40)
    strip = dict(img_path=str(folder / "one_strip.tif"), tile=(0, 0))
    with pytest.raises(UnreadableImageError, match=r"1600 pixels .*; stored in tiles, it would be"):
        load.transform(strip)
    monkeypatch.setattr(tiff_file, "tifffile", None)
    with pytest.raises(UnreadableImageError, match=r"1600 pixels .*needs tifffile: pip install"):
        load.transform(dict(img_path=str(folder / "rgb.tif"), tile=(0, 0)))


def test_planes_of_16_bits_are_refused_whole_and_read_in_tiles(tmp_path):
    pixels = noise(64, 64, 3, "uint16") * 250
    path = write(tmp_path / "x.tif", pixels, planar=True)
    with pytest.raises(UnreadableImageError, match="whose planes lie apart"):
        decode_image(path.read_bytes())
    load = LoadTileOrSkip(SIDE, on_error="raise")
    found = load.transform(dict(img_path=str(path), tile=(3, 5)))["img"]
    assert np.array_equal(found[..., ::-1], pixels[3:35, 5:37] >> 8)
    # Together, or compressed, Pillow reads them.
    for options in (dict(), dict(planar=True, compression="zlib")):
        path = write(tmp_path / "y.tif", pixels, **options)
        assert np.array_equal(decode_image(path.read_bytes())[..., ::-1], pixels >> 8)


def test_what_is_decoded_whole_is_kept_within_a_limit_and_in_one_process(folder, monkeypatch):
    decoded = []
    whole = pictures.decode_image
    monkeypatch.setattr(
        pictures, "decode_image", lambda *a, **k: decoded.append(1) or whole(*a, **k)
    )
    reader = PictureReader(SIDE, cache_bytes=70 * 90 * 3)
    for name in ("grey.png", "grey.png", "rgb.tif", "grey.png"):
        reader.open(folder / name)
    assert len(decoded) == 1
    for name in ("exif.jpg", "grey.png"):  # one of them fits
        reader.open(folder / name)
    assert len(decoded) == 3
    assert not pickle.loads(pickle.dumps(reader))._kept
    monkeypatch.setattr(os, "getpid", lambda: -1)  # as after a fork
    reader.open(folder / "grey.png")
    assert len(decoded) == 4


@pytest.fixture
def data(folder):
    """Tiles of six pictures, 9 each."""
    names = [name for name in PICTURES if name not in ("one_strip.tif", "exif.jpg")]
    (folder / "files.txt").write_text("".join(f"{folder / name}\n" for name in names))
    grid = tile_grid(70, 90, SIDE).tolist()
    tiles = [(picture, *place) for picture in range(6) for place in grid]
    (folder / "tiles.txt").write_text(write_tiles(tiles))
    pipeline = [dict(type="LoadTileOrSkip", side=SIDE), dict(type="PackInputs", meta_keys=["tile"])]
    return TiledImages("files.txt", "tiles.txt", str(folder), pipeline=pipeline)


def test_workers_see_the_tiles_that_one_process_sees(data):
    def all_of(workers: int) -> list[torch.Tensor]:
        loader = torch.utils.data.DataLoader(
            data,
            batch_size=6,
            num_workers=workers,
            sampler=PicturesTogether(data, window=2, seed=3),
            collate_fn=lambda batch: torch.stack([sample["inputs"] for sample in batch]),
        )
        return list(loader)

    assert data[1]["data_samples"].tile == (0, 32)
    alone, together = all_of(0), all_of(2)
    assert len(alone) == len(data) // 6
    assert all(map(torch.equal, alone, together))


def test_pictures_are_mixed_a_few_at_a_time_in_an_order_of_seed_and_epoch_alone(data):
    sampler = PicturesTogether(data, window=2, seed=3)
    order = list(sampler)
    assert sorted(order) == list(range(len(data)))
    assert order == list(PicturesTogether(data, window=2, seed=3))
    count = len(data) // 3  # of two pictures
    groups = [data.pictures[order[n : n + count]].tolist() for n in range(0, len(order), count)]
    assert [len(set(group)) for group in groups] == [2, 2, 2]
    assert all(group != sorted(group) for group in groups)
    sampler.set_epoch(1)
    assert list(sampler) != order
    assert list(PicturesTogether(data, window=2, shuffle=False)) == list(range(len(data)))


def test_what_is_drawn_for_a_tile_depends_on_its_number_and_not_on_its_place(data):
    def draws(sampler) -> dict[int, int]:
        loader = torch.utils.data.DataLoader(data, batch_size=4, sampler=sampler)
        place_loader(loader)
        return {int(place): place.draws for batch in loader.placed for place in batch}

    assert draws(PicturesTogether(data, window=2, seed=3)) == draws(DefaultSampler(data, seed=9))


def test_a_list_of_tiles_is_read_as_it_is_written_and_no_other_text_is(folder, data):
    assert read_tiles(write_tiles(data._tiles).encode(), 6).tolist() == data._tiles.tolist()
    for text, why in (
        (b"0 1", "three whole"),
        (b"0 1 x", "three"),
        (b"", "no tile"),
        (b"6 0 0", "none of"),
    ):
        with pytest.raises(ValueError, match=why):
            read_tiles(text, 6)
    (folder / "odd.txt").write_text("a b c\n")
    with pytest.raises(ValueError, match=r"odd\.txt cannot be read"):
        TiledImages("files.txt", "odd.txt", str(folder), pipeline=[])
    with pytest.raises(FileNotFoundError, match=r"list of tiles .*none\.txt"):
        TiledImages("files.txt", "none.txt", str(folder), pipeline=[])
    with pytest.raises(ValueError, match="does not tell of which"):
        PicturesTogether([1, 2], window=1)
