# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A fine-tuning says which images it is judged by were in the pretraining."""

import argparse

import pytest
from mmengine.config import Config
from PIL import Image

from xmoco_plugin.cli import few_labels, transfer
from xmoco_plugin.cli.seen_before import seen_before
from xmoco_plugin.pretraining import scan_images, write_list


@pytest.fixture
def run(tmp_path):
    """A run that was pretrained on three pictures, one of which is in val under another name."""
    (tmp_path / "run").mkdir()
    for part, names in (("photos", "012"), ("data/train", "3"), ("data/val", "45")):
        (tmp_path / part).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (4, 4), (40 * int(name), 0, 0)).save(tmp_path / part / f"{name}.png")
    (tmp_path / "photos" / "1.png").rename(tmp_path / "data" / "val" / "other.png")
    (tmp_path / "photos" / "1.png").write_bytes((tmp_path / "data/val/other.png").read_bytes())
    paths = [str(tmp_path / "photos" / f"{name}.png") for name in "012"]
    write_list(scan_images(paths, tmp_path / "scan.jsonl"), tmp_path / "run")
    return tmp_path / "run"


def test_images_of_val_that_were_pretrained_on_are_named_with_their_share(run, tmp_path):
    (row,) = seen_before(str(run / "backbone.pth"), str(tmp_path / "data"))
    assert (row.state, row.part) == ("note", "val")
    assert row.text.startswith(f"1 of 3 images (33 %) were in the pretraining of {run}")
    assert row.names == (str(tmp_path / "data" / "val" / "other.png"),)


def test_nothing_is_said_where_nothing_was_seen_or_is_known(run, tmp_path):
    (tmp_path / "data" / "val" / "other.png").unlink()
    weights, data = str(run / "backbone.pth"), str(tmp_path / "data")
    assert seen_before(weights, data) == []
    assert seen_before(weights, None) == []
    assert seen_before(weights, str(tmp_path / "data" / "train")) == []
    assert seen_before(str(tmp_path / "backbone.pth"), data) == []  # no run
    (run / "digests.txt").write_text("no digest\n")
    assert seen_before(weights, data) == []


@pytest.mark.parametrize("tool", [transfer, few_labels], ids=["transfer", "few-labels"])
def test_the_table_before_the_first_iteration_has_the_row(tool, run, tmp_path, monkeypatch):
    class ShownError(Exception):
        pass

    def show(found, root):
        raise ShownError([row.part for row in found])

    (run / "backbone.pth").write_bytes(b"weights")
    cfg = Config(dict(pretrained=str(run / "backbone.pth")))
    monkeypatch.setattr(transfer, "resolve", lambda args, found: cfg)
    monkeypatch.setattr(few_labels, "read_starts", lambda args, asked, torchvisions, found: {})
    monkeypatch.setattr(tool.data_table, "show", show)
    args = argparse.Namespace(
        checkpoint=str(run / "backbone.pth"), data_root=str(tmp_path / "data"), config="c.py"
    )
    args.work_dir, args.extra, args.share_iters, args.shares = str(tmp_path / "w"), [], None, [1]
    args.max_iters, args.imagenet = 1, None
    with pytest.raises(ShownError) as shown:
        tool.main(args)
    assert shown.value.args == (["val"],)
