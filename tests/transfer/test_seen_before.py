# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A fine-tuning says which images it is judged by were in the pretraining."""

import argparse
import json
import shutil
from pathlib import Path

import pytest
from mmengine.config import Config
from PIL import Image

from xmoco_plugin.cli import few_labels, share_runs, transfer
from xmoco_plugin.cli import seen_before as seen
from xmoco_plugin.cli.seen_before import seen_before
from xmoco_plugin.cli.share_results import Start
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


def of_folder(weights: Path, data: Path | None) -> list:
    """What is said of a config whose sets are of no known kind, by the folder's layout."""
    return seen_before([str(weights)], Config(), data and str(data))


def test_images_of_val_that_were_pretrained_on_are_named_with_their_share(run, tmp_path):
    (row,) = of_folder(run / "backbone.pth", tmp_path / "data")
    assert (row.state, row.part) == ("note", "val")
    assert row.text.startswith(f"1 of 3 images (33 %) were in the pretraining of {run}")
    assert row.names == (str(tmp_path / "data" / "val" / "other.png"),)


def test_nothing_is_said_where_nothing_was_seen_or_is_known(run, tmp_path):
    (tmp_path / "data" / "val" / "other.png").unlink()
    weights, data = run / "backbone.pth", tmp_path / "data"
    assert of_folder(weights, data) == []
    assert of_folder(weights, None) == []
    assert of_folder(weights, data / "train") == []
    assert of_folder(tmp_path / "backbone.pth", data) == []  # no run
    (run / "digests.txt").write_text("no digest\n")
    assert of_folder(weights, data) == []


def boxes(tmp_path, names: list[str]) -> dict:
    """A set in COCO format whose list and images lie in folders of no layout."""
    lists = tmp_path / "lists"
    lists.mkdir(exist_ok=True)
    images = [dict(id=i, file_name=name, width=4, height=4) for i, name in enumerate(names)]
    box = dict(id=1, image_id=0, category_id=1, bbox=[0, 0, 2, 2], area=4, iscrowd=0)
    content = dict(images=images, annotations=[box], categories=[dict(id=1, name="a")])
    (lists / f"{len(names)}.json").write_text(json.dumps(content))
    prefix = dict(img=str(tmp_path / "data" / "val"))
    return dict(type="CocoDataset", ann_file=str(lists / f"{len(names)}.json"), data_prefix=prefix)


def test_the_val_and_test_sets_of_the_config_count_wherever_they_lie(run, tmp_path):
    loaders = {
        f"{stage}_dataloader": dict(dataset=boxes(tmp_path, names))
        for stage, names in (("val", ["4.png"]), ("test", ["4.png", "other.png"]))
    }
    (row,) = seen_before([str(run / "backbone.pth"), "scratch"], Config(loaders))
    assert row.part == "test"
    assert row.text.startswith("1 of 1 images (100 %)")  # 4.png is val's
    assert row.names == (str(tmp_path / "data" / "val" / "other.png"),)
    # Masks: by mmseg's two folders, in which the images of a config are.
    masks = tmp_path / "masks"
    masks.mkdir()
    for name in ("4", "5", "other"):
        (masks / f"{name}.png").write_bytes(b"")
    layout = dict(img_path=str(tmp_path / "data/val"), seg_map_path=str(masks))
    data = dict(type=object, data_prefix=layout, img_suffix=".png", seg_map_suffix=".png")
    (row,) = seen_before(
        [str(run / "backbone.pth")], Config(dict(val_dataloader=dict(dataset=data)))
    )
    assert row.text.startswith("1 of 3 images (33 %)")


def test_images_are_read_once_for_all_runs(run, tmp_path, monkeypatch):
    read = []
    monkeypatch.setattr(
        seen, "file_digest", lambda file, real=seen.file_digest: read.append(file) or real(file)
    )
    shutil.copytree(run, tmp_path / "second")
    weights = [str(run / "a.pth"), str(run / "b.pth"), str(tmp_path / "second" / "c.pth")]
    found = seen_before(weights, Config(), str(tmp_path / "data"))
    assert [row.text.split(" of ")[2].split(",")[0] for row in found] == [
        *(str(run), str(tmp_path / "second"))
    ]
    assert len(read) == 3


@pytest.mark.parametrize("tool", [transfer, few_labels], ids=["transfer", "few-labels"])
def test_the_table_before_the_first_iteration_has_the_row(tool, run, tmp_path, monkeypatch):
    class ShownError(Exception):
        pass

    def show(found, root):
        raise ShownError([row.part for row in found])

    weights = run / "backbone.pth"
    weights.write_bytes(b"weights")
    cfg = Config(dict(pretrained=str(weights)))
    start = Start("pretrained", str(weights), "digest")
    monkeypatch.setattr(transfer, "resolve", lambda args, found: cfg)
    monkeypatch.setattr(share_runs, "read_starts", lambda *arguments: {start: [cfg]})
    monkeypatch.setattr(transfer.data_table, "show", show)
    args = argparse.Namespace(
        checkpoint=str(weights), data_root=str(tmp_path / "data"), config="c.py"
    )
    args.work_dir, args.extra, args.share_iters, args.shares = str(tmp_path / "w"), [], None, [1]
    args.max_iters, args.imagenet, args.prefix = 1, None, None
    with pytest.raises(ShownError) as shown:
        tool.main(args)
    assert shown.value.args == (["val"],)
