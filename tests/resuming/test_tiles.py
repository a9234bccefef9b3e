# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run on tiles that was stopped in the middle of an epoch ends as the one that was not."""

import pytest
from PIL import Image

from tests.data.tiffs import noise, write
from xmoco_plugin.data.tile_grid import tile_grid, write_tiles

from . import runs


@pytest.fixture(scope="module")
def tiles(tmp_path_factory) -> dict:
    """Settings of a loader of 16 tiles of four pictures, two of them decoded whole."""
    root = tmp_path_factory.mktemp("tiles")
    paths = [root / name for name in ("a.png", "b.tif", "c.png", "d.tif")]
    for seed, path in enumerate(paths):
        pixels = noise(64, 64, 3, seed=seed)
        if path.suffix == ".png":
            Image.fromarray(pixels).save(path)
        else:
            write(path, pixels, tile=(32, 32), compression="zlib")
    (root / "files.txt").write_text("".join(f"{path}\n" for path in paths))
    places = [(n, *place) for n in range(4) for place in tile_grid(64, 64, 32).tolist()]
    (root / "tiles.txt").write_text(write_tiles(places))
    return dict(
        batch_size=4,
        num_workers=0,
        drop_last=True,
        sampler=dict(type="PicturesTogether", window=2, shuffle=True),
        collate_fn=dict(type="default_collate"),
        dataset=dict(
            type="TiledImages",
            ann_file="files.txt",
            tile_file="tiles.txt",
            data_root=str(root),
            pipeline=[
                dict(type="LoadTileOrSkip", side=32, cache_bytes=64 * 64 * 3),
                dict(type="TwoViews", views=dict(size=8)),
                dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "skipped", "tile")),
            ],
        ),
    )


def test_a_run_on_tiles_goes_on_from_the_middle_of_an_epoch(tiles, tmp_path):
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    runs.run(whole, train_dataloader=tiles)
    runs.run(parts, ask=[6], train_dataloader=tiles)
    runs.run(parts, resume=True, train_dataloader=tiles)
    assert len(dict(runs.states(whole, "epoch_3.pth"))) > 100
    assert runs.unlike(whole, parts, "epoch_3.pth") == []
