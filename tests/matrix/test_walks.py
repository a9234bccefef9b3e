# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The heavy rows of the table, from end to end by the documented command: `make test-matrix`."""

import json
import shlex
import sys

import numpy as np
import pytest

from xmoco_plugin.pretraining.ready import READY

from ..data.shards.conftest import server  # noqa: F401
from ..export.backbones import needs
from ..export.test_architectures import prove, rows
from ..teachers.files import own_file
from ..tool_modules import ROOT
from ..transfer import drawn
from ..transfer.small import NO_WORKERS
from . import table, walks

pytestmark = [pytest.mark.matrix, pytest.mark.slow]


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return walks.draw(tmp_path_factory.mktemp("matrix") / "data")


@pytest.mark.parametrize("model", table.MODELS)
def test_a_model_trains_and_every_line_of_its_next_steps_runs(model, data, tmp_path):
    run, size = tmp_path / "run", 32 if model.startswith(("resnet", "vit")) else 64
    walks.xmoco(
        *("pretrain", "--data", data / "train", "--out", run, "--model", model),
        *("--image-size", size, *walks.FAST),
    )
    assert (run / "backbone.pth").is_file()
    assert "report.html" in [file.name for file in run.iterdir()]
    page = (run / "next_steps.md").read_text()
    for block in walks.blocks(page, "bash"):
        for line in block.replace("\\\n", " ").splitlines():
            if "xmoco transfer" in line:  # walked by tests/pretrain_tool/test_fine_tuning.py
                continue
            line = line.replace("LABELLED_FOLDER", shlex.quote(str(data)))
            line = line.replace("FOLDER_OF_IMAGES", shlex.quote(str(data / "val")))
            if "xmoco evaluate" in line:
                line += f" --protocol knn --workers 0 --out {tmp_path / 'judged'}"
            if "xmoco embed" in line:
                line += " --workers 0"
            done = walks.shell(line)
            if "xmoco embed" in line:
                assert f"image size {size} px" in done.stderr
    features = np.load(run / "features.npz")["features"]
    assert len(features) == 18
    assert np.isfinite(features).all()
    for block in walks.blocks(page, "python"):
        if "model = dict(" not in block:  # a part of a config
            walks.shell(f"{shlex.quote(sys.executable)} -W ignore -c {shlex.quote(block)}")


@pytest.mark.parametrize("library", ["torchvision", "timm"])
@pytest.mark.parametrize("member", rows(), ids=lambda member: member.family.kind)
def test_a_family_of_another_library_comes_in_and_goes_out(member, library):
    needs("timm")
    if member.name_in(library):
        prove(member, library)


@pytest.mark.parametrize(("model", "library"), table.INITS)
def test_a_pretraining_starts_from_the_weights_that_a_library_ships(model, library, data, tmp_path):
    import torch

    from xmoco_plugin.export.architectures import FAMILIES, of_family

    from ..export.libraries import build

    kind, _, value = model.partition(":")
    member = next(
        m
        for family in FAMILIES
        for m in of_family(family)
        if family.kind == kind and (not value or str(m.value) == value) and m.name_in(library)
    )
    torch.manual_seed(0)
    torch.save(build(member, library).state_dict(), tmp_path / "theirs.pth")
    walks.xmoco(
        *("pretrain", "--data", data / "train", "--out", tmp_path / "run", "--model", model),
        *("--init", tmp_path / "theirs.pth", "--prefix", "", "--image-size", 64, *walks.FAST),
    )
    assert (tmp_path / "run" / "init.pth").is_file()
    assert (tmp_path / "run" / "backbone.pth").is_file()


@pytest.mark.parametrize("row", READY, ids=lambda row: row.detector or row.segmentor)
def test_a_backbone_is_pretrained_exported_arrives_and_is_fine_tuned(row, tmp_path):
    needs("mmdet")
    needs("mmseg")
    root, out = drawn.draw(tmp_path / "data", train=12, val=2), tmp_path / "out"
    only = [name for name in (row.detector, row.segmentor) if name]
    words = ["--det", root, "--seg", root, "--out", out, "--only", *only, "--iters", 2]
    script = [sys.executable, ROOT / "benchmarks/backbones.py", *words, "--side", 96]
    walks.shell(shlex.join(map(str, [*script, "--batch-size", 4])))
    for name in only:
        walked = json.loads((out / f"{name}.json").read_text())
        assert walked["arrived"] >= 100
        assert max(max(levels.values()) for levels in walked["differences"]) < 1e-5
        assert (out / name / "table.md").is_file()


def test_options_of_a_pretraining_that_nothing_else_walks(data, tmp_path):
    options = dict(momentum=0.05, crop_scale=0.3, queue_len=8, lr=0.01, max_pixels=5000)
    options |= dict(max_unpacked=1, max_members=1000, temperature=0.3, key_view="strong")
    words = [w for k, v in options.items() for w in (f"--{k.replace('_', '-')}", v)]
    walks.xmoco(
        *("pretrain", "--data", data / "train", "--out", tmp_path / "run", "--verbose"),
        *("--model", "resnet18", "--image-size", 32, *words, *walks.FAST),
    )
    config = (tmp_path / "run" / "config.py").read_text()
    assert "momentum=0.05" in config
    assert "queue_len=8" in config
    assert "temperature=0.3" in config


def test_options_of_judging_that_nothing_else_walks(data, tmp_path):
    run = tmp_path / "run"
    walks.xmoco(
        *("pretrain", "--data", data / "train", "--out", run, "--labels", data),
        *("--model", "resnet18", "--image-size", 32, *walks.FAST),
    )
    weights, config = run / "backbone.safetensors", run / "config.py"
    walks.xmoco(
        *("evaluate", weights, "--data", data, "--protocol", "knn,linear-fast,svm", "--jobs", 1),
        *("--weight-decay", 0, "--lr", 0.1, "--epochs", 2, "--costs", 1, "--batch-size", 8),
        *("--workers", 0, "--cfg-options", "model.queue_len=8"),
        *("--max-pixels", 5000, "--prefix", "", "--out", tmp_path / "judged"),
    )
    walks.xmoco("evaluate", weights, "--config", config, "--protocol", "knn", "--workers", 0)
    walks.xmoco(
        *("eval-knn", config, weights, "--k", 1, 3, "--verbose", "--prefix", ""),
        *("--work-dir", tmp_path / "knn", "--cfg-options", "test_dataloader.num_workers=0"),
    )
    walks.xmoco(
        *("embed", weights, data / "val", "--out", tmp_path / "f.csv", "--prefix", ""),
        *("--batch-size", 4, "--workers", 0, "--cfg-options", "model.queue_len=8"),
    )
    walks.xmoco(
        *("select", weights, data / "val", "-n", 3, "--out", tmp_path / "n.csv", "--prefix", ""),
        *("--config", config, "--batch-size", 4, "--workers", 0, "--max-pixels", 5000),
        *("--cfg-options", "model.queue_len=8"),
    )
    walks.xmoco("export", weights, tmp_path / "o.pth", "--to", "torchvision", "--from", "timm")
    walks.xmoco(
        *("pack", "pack", data / "train", tmp_path / "p.pack", "--shorter-side", 32),
        *("--quality", 90, "--max-pixels", 5000),
    )


def test_a_fine_tuning_from_wrapped_weights_with_folders_that_are_named(tmp_path):
    import torch
    import torchvision

    needs("mmdet")
    root = drawn.draw(tmp_path / "data", train=4, val=2)
    (root / "val").rename(root / "held_out")
    body = torchvision.models.resnet18().state_dict()
    state = {f"module.trunk.net.{key}": value for key, value in body.items()}
    torch.save(dict(state_dict=state), tmp_path / "wrapped.pth")
    common = [
        *("det", ROOT / "configs/detection/faster-rcnn_r18-fpn_small.py", "--data-root", root),
        *("--prefix", "module.trunk.net", "--val-images", "held_out", "--max-iters", 2),
    ]
    options = ["--cfg-options", *NO_WORKERS, "train_dataloader.batch_size=2"]
    work = tmp_path / "work"
    walks.xmoco("transfer", tmp_path / "wrapped.pth", *common, "--work-dir", work, *options)
    assert "| wrapped.pth |" in (work / "table.md").read_text()
    moved = work.rename(tmp_path / "moved")
    before = [file.stat().st_mtime_ns for file in sorted(moved.rglob("iter_*.pth"))]
    assert before
    walks.xmoco("transfer", tmp_path / "wrapped.pth", *common, "--work-dir", moved, *options)
    # Nothing is trained again.
    assert [file.stat().st_mtime_ns for file in sorted(moved.rglob("iter_*.pth"))] == before
    walks.xmoco(
        *("few-labels", tmp_path / "wrapped.pth", *common, "--shares", "100", "--work-dir"),
        *(tmp_path / "few", *options),
    )
    assert (tmp_path / "few" / "few_labels.md").is_file()


def test_a_pretraining_reads_shards_from_a_bucket(
    data,
    tmp_path,
    server,  # noqa: F811
    monkeypatch,
):
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XMOCO_SHARDS", str(tmp_path / "cache"))
    walks.xmoco("pack", "shards", data / "train", "--to", "s3://bucket/walk", "--shard-mb", 1)
    words = ("pretrain", "--data", "s3://bucket/walk", "--model", "resnet18", *walks.FAST)
    words += ("--image-size", 32, "--workers", 2)
    walks.xmoco(*words, "--out", tmp_path / "run")
    assert (tmp_path / "run" / "backbone.pth").is_file()
    own_file(tmp_path / "teacher.pth")
    words += ("--teacher", tmp_path / "teacher.pth", "--teacher-size", 32)
    walks.xmoco(*words, "--out", tmp_path / "taught")
    assert (tmp_path / "taught" / "teacher_features.bin").is_file()
    assert (tmp_path / "taught" / "backbone.pth").is_file()
