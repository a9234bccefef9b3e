# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/embed.py --tiles: a row for each tile."""

from argparse import Namespace
from functools import partial

import numpy as np
import torch
from PIL import Image

from xmoco_plugin.cli import backbones
from xmoco_plugin.data.labelled_sets import training_bit_depth, training_tile
from xmoco_plugin.export.record import make_record

from . import models
from .tool_modules import import_tool, run_tool


def test_tiles_of_large_pictures_have_a_row_each(monkeypatch, tmp_path, capsys):
    pixels = np.random.default_rng(0).integers(0, 256, (64, 140, 3), dtype=np.uint8)
    folder = tmp_path / "photos"
    (folder / "large").mkdir(parents=True)
    Image.fromarray(pixels).save(folder / "large/x.png")
    Image.fromarray(pixels[:, :64]).save(folder / "large/y.tif")
    Image.fromarray(pixels[:60]).save(folder / "large/z.png")
    checkpoint, out = tmp_path / "epoch_1.pth", tmp_path / "e.npz"
    models.save_checkpoint(checkpoint)
    words = (checkpoint, folder, "--image-size", 8, "--workers", 0, "--out", out, "--tiles")
    run = partial(run_tool, import_tool("embed"), monkeypatch)
    assert run(*words, 64) == 0
    found = np.load(out)
    assert found["names"].tolist() == [
        *("large/x.png[0,0]", "large/x.png[0,64]", "large/x.png[0,76]", "large/y.tif[0,0]"),
    ]
    assert np.array_equal(found["features"][0], found["features"][3])
    assert not np.allclose(found["features"][0], found["features"][1])
    said = capsys.readouterr().err
    assert "left out: large/z.png: 140x60 px is smaller than a tile of 64 px" in said
    assert run(*words, 128) == 2
    assert "none of its 3 images has a tile of 128 px" in capsys.readouterr().err


def test_exported_weights_keep_the_bits_and_the_tiles_of_their_training(tmp_path):
    reader = dict(type="LoadTileOrSkip", side=64, bit_depth=12)
    loader = dict(dataset=dict(type="TiledImages", pipeline=[reader]))
    text = f"model = {dict(type='XMoCo')!r}\ntrain_dataloader = {loader!r}\n"
    path = tmp_path / "epoch_1.pth"
    torch.save({"state_dict": {}, "meta": {"cfg": text}}, path)
    record = make_record(torch.load(path, weights_only=True), path)
    assert (record["bit_depth"], record["tiles"]) == (12, 64)
    torch.save({"state_dict": {}, "meta": record}, tmp_path / "backbone.pth")
    args = Namespace(checkpoint=str(tmp_path / "backbone.pth"), config=None, cfg_options=None)
    cfg = backbones.load_config(args)
    assert (training_bit_depth(cfg), training_tile(cfg)) == (12, 64)
