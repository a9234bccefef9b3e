# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The way from images to AP: pretrain, fine-tune, test, one row of a table; and what stops it."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config

from xmoco_plugin.cli.options.transfer import seeds

from ..forked import command, transfer
from ..free_port import free_port
from ..tool_modules import import_tool
from .drawn import draw, edit
from .hosts import needs_mmdet, needs_mmseg
from .small import (
    DETECTOR,
    FEW_PROPOSALS,
    NARROW_FCN,
    NO_WORKERS,
    ROOT,
    SEGMENTOR,
    SMALL_CROPS,
    SMALL_DETECTOR,
    WIDTH,
)

# A pretraining as docs/own_images.md has it by config, shrunken.
PRETRAIN = f"""
_base_ = [{str(ROOT / "configs/xmoco_r50_1xb64_folder.py")!r}]
model = dict(
    queue_len=64, feat_dim=16,
    backbone=dict(depth=18, base_channels={WIDTH}, stem_channels={WIDTH}),
    neck=dict(in_channels={8 * WIDTH}, hid_channels=32, out_channels=16))
train_dataloader = dict(batch_size=8, num_workers=0)
train_cfg = dict(max_epochs=2)
default_hooks = dict(checkpoint=dict(interval=2))
randomness = dict(seed=0)
"""


def by_the_shell(*arguments, **env) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["bash", "tools/transfer.sh", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHON": sys.executable, "OMP_NUM_THREADS": "1", **env},
        capture_output=True,
        text=True,
        timeout=1500,
    )


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    return draw(tmp_path_factory.mktemp("transfer") / "data", train=32, val=12)


@pytest.fixture(scope="module")
def pretrained(data) -> Path:
    """The checkpoint of a real, short pretraining on the training images."""
    config = data.parent / "pretrain.py"
    config.write_text(PRETRAIN)
    work = data.parent / "pretrain"
    done = command(
        "train", config, "--data-root", data / "train", "--work-dir", work,
        "--cfg-options", "train_dataloader.dataset.pipeline.1.transforms.0.0.scale=64",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-8000:]
    return work / "epoch_2.pth"


@pytest.fixture(scope="module")
def tool():
    """tools/transfer.py as a module; tools/ is no package."""
    return import_tool("transfer")


@needs_mmdet
@pytest.mark.slow
def test_pretrain_fine_tune_and_see_ap_with_the_checkpoint_proved(data, pretrained):
    work = data.parent / "det"
    arguments = [
        pretrained, "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", work,
        "--seeds", "0..1", "--max-iters", "60", "--cfg-options", *SMALL_DETECTOR, *FEW_PROPOSALS,
    ]  # fmt: skip
    done = transfer(*arguments)
    assert done.returncode == 0, done.stderr[-8000:]
    assert "backbone weights of epoch_2.pth" in done.stdout + done.stderr
    rows = [line.split("|")[1:-1] for line in done.stdout.splitlines() if line.startswith("| ")]
    head, _, *seeds, mean = [[cell.strip() for cell in row] for row in rows]
    assert head == ["start", "sha256", "config", "seed", "AP", "AP50", "AP75"]
    assert [row[3] for row in seeds] == ["0", "1"]
    assert mean[3] == "mean ± std of 2"
    assert re.fullmatch(r"[0-9a-f]{8}", mean[1])
    ap50 = [float(row[5]) for row in seeds]
    # One that has learnt nothing has 0, and after so few iterations one of the two may.
    assert max(ap50) > 1, ap50
    assert (work / "table.md").read_text().strip() in done.stdout
    # Again: what is there is read, not trained; with other settings it is not overwritten.
    before = (work / "seed_0/metrics.json").stat().st_mtime_ns
    assert transfer(*arguments).returncode == 0
    other = transfer(*arguments, "model.rpn_head.feat_channels=32")
    assert other.returncode == 2
    assert "holds a run with other settings" in other.stderr
    assert (work / "seed_0/metrics.json").stat().st_mtime_ns == before


@needs_mmdet
@pytest.mark.slow
def test_two_processes_fine_tune_one_detector_and_give_one_row(data, pretrained):
    done = by_the_shell(
        pretrained, "det", DETECTOR, "--data-root", data, "--work-dir", data.parent / "two",
        "--gpus", "2", "--max-iters", "4", "--cfg-options", *SMALL_DETECTOR,
        PORT=str(free_port()),
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-8000:]
    lines = done.stdout.splitlines()
    rows = [line for line in lines if line.startswith("| ")]
    assert len(rows) == 3, rows
    assert len(lines) <= 45, done.stdout  # the walls of two libraries are in the logs
    assert done.stdout.count("backbone weights of epoch_2.pth") <= 1  # rank 0 says it


@needs_mmseg
@pytest.mark.slow
def test_segmentation_from_scratch_and_from_a_checkpoint_gives_miou(data, pretrained):
    for start in ("scratch", pretrained):
        work = data.parent / f"seg-{Path(start).stem}"
        done = transfer(
            start, "seg", ROOT / SEGMENTOR, "--data-root", data, "--work-dir", work,
            "--max-iters", "40", "--cfg-options", *NARROW_FCN, *NO_WORKERS, *SMALL_CROPS,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr[-8000:]
        row = [line for line in done.stdout.splitlines() if line.startswith("| ")][-1].split("|")
        # So short a training may end in one class for every pixel, which is marked.
        assert 10 < float(row[5].replace("*", "")) <= 100
        assert ("backbone weights of" in done.stdout + done.stderr) == (start != "scratch")


@needs_mmdet
def test_bad_input_ends_with_status_2_and_a_message_before_training(data, tmp_path):
    wrong = draw(tmp_path / "data", train=2, val=1)
    torch.save({"neck.weight": torch.zeros(1)}, tmp_path / "p.pth")
    edit(wrong / "annotations/val.json", lambda c: c["categories"].append(dict(id=7, name="x")))
    common = ["det", ROOT / DETECTOR, "--data-root", wrong, "--work-dir", tmp_path / "work"]
    for start, message in (
        (tmp_path / "p.pth", "class lists differ"),
        (tmp_path / "absent.pth", "absent.pth. The word scratch in its place starts"),
    ):
        done = transfer(start, *common)
        assert done.returncode == 2, done.stderr[-8000:]
        assert message in done.stderr
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "work").exists()


@needs_mmdet
@pytest.mark.parametrize("iters", [1, 2, 7, 1200])
def test_a_schedule_of_any_length_ends_after_it_begins(tool, iters):
    cfg = Config.fromfile(ROOT / DETECTOR)
    tool.stretch(cfg, iters)
    assert cfg.train_cfg.max_iters == iters
    parts = [(part.begin, part.end) for part in cfg.param_scheduler if part.get("end")]
    assert parts
    assert all(begin < end for begin, end in parts)


def test_seeds_are_one_a_list_or_a_range():
    assert seeds("3") == [3]
    assert seeds("0,2,5") == [0, 2, 5]
    assert seeds("0..4") == [0, 1, 2, 3, 4]
    for wrong in ("", "a", "4..0", "1,1"):
        with pytest.raises(Exception, match="names no seeds"):
            seeds(wrong)


def test_the_table_has_percent_and_for_several_seeds_mean_and_std(tool):
    runs = {s: {"coco/bbox_mAP": 0.1 * s, "coco/bbox_mAP_50": 0.5, "x": 1} for s in (1, 2, 3)}
    lines = tool.table("det", "a.pth", "12345678", "c", runs).splitlines()
    assert lines[0] == "| start | sha256 | config | seed | AP | AP50 |"
    assert lines[2] == "| a.pth | 12345678 | c | 1 | 10.00 | 50.00 |"
    assert lines[-1] == "| a.pth | 12345678 | c | mean ± std of 3 | 20.00 ± 10.00 | 50.00 ± 0.00 |"
    cfg = Config(dict(train_cfg=dict(max_iters=1200)))
    found = {"coco/bbox_mAP": 0.2, "coco/bbox_mAP_50": 0.4, "coco/bbox_mAP_75": 0.1}
    nothing = tool.table("det", "scratch", "-", "c", {0: {}, 1: found}, cfg).splitlines()
    assert nothing[2] == "| scratch | - | c | 0 | 0.00 * | 0.00 * | 0.00 * |"
    assert nothing[3] == "| scratch | - | c | 1 | 20.00 | 40.00 | 10.00 |"
    assert nothing[4].startswith("| scratch | - | c | mean ± std of 2 | 10.00 ± 14.14 * |")
    assert nothing[6] == (
        "* seed 0: no box above the score threshold on any test image, after 1,200 iterations. "
        "No result: train longer, or look at data.txt."
    )
    assert tool.table("det", "scratch", "-", "c", {0: {}}).splitlines()[2] == nothing[2]
    voc = tool.table(
        "det", "scratch", "-", "c", {0: {"pascal_voc/mAP": 0.55, "pascal_voc/AP75": 0.6}}
    )
    assert voc.splitlines()[-1] == "| scratch | - | c | 0 | 55.00 | 60.00 |"
    seg = tool.table("seg", "scratch", "-", "c", {0: {"mIoU": 40.5}})
    assert seg.splitlines()[-1] == "| scratch | - | c | 0 | 40.50 |"


def test_max_iters_stretches_the_whole_schedule(tool):
    cfg = Config(
        dict(
            train_cfg=dict(max_iters=1000, val_interval=1000),
            default_hooks=dict(checkpoint=dict(interval=1000)),
            param_scheduler=[
                dict(begin=0, end=100),
                dict(begin=100, end=1000, T_max=900),
                dict(milestones=[700, 900]),
            ],
            custom_hooks=[dict(type="A", interval=1000), dict(type="B", interval=50)],
        )
    )
    tool.stretch(cfg, 100)
    assert json.loads(json.dumps(cfg.to_dict())) == dict(
        train_cfg=dict(max_iters=100, val_interval=100),
        default_hooks=dict(checkpoint=dict(interval=100)),
        param_scheduler=[
            dict(begin=0, end=10),
            dict(begin=10, end=100, T_max=90),
            dict(milestones=[70, 90]),
        ],
        custom_hooks=[dict(type="A", interval=100), dict(type="B", interval=50)],
    )
    del cfg.train_cfg["max_iters"]
    with pytest.raises(ValueError, match="counts iterations"):
        tool.stretch(cfg, 10)
