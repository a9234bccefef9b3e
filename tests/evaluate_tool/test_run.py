# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/evaluate.py as users start it, and the kinds of data that it takes."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from xmoco_plugin.checkpoint import sha256_of
from xmoco_plugin.export import prepare_file

from .. import models
from . import command
from .command import COLOURS, noise, run


def test_one_command_gives_one_table_printed_and_as_json_and_markdown(
    tool, monkeypatch, capsys, folder, checkpoint, tmp_path
):
    out = tmp_path / "out"
    names = "knn,linear-fast,svm,low-shot,retrieval"
    options = ["--data", folder, "--protocol", names, "--costs", "1", "--shots", "2"]
    options += ["--recall", "1", "--augment", "1", "--out", out]
    assert run(tool, monkeypatch, checkpoint, *options) == 0
    report = json.loads((out / "evaluation.json").read_text())
    assert report["sha256"] == sha256_of(checkpoint)
    assert (report["train"], report["test"], report["classes"]) == (24, 15, 3)
    assert report["environment"]["torch"] == torch.__version__
    rows = report["results"]
    assert list(dict.fromkeys(row["protocol"] for row in rows)) == ["features", *names.split(",")]
    assert all(row["percent"] > 70 for row in rows[1:]), rows
    for name in ["features", *names.split(",")]:
        assert next(row for row in rows if row["protocol"] == name)["minutes"] is not None
    printed, table = capsys.readouterr().out, (out / "evaluation.md").read_text()
    assert table in printed
    for row in rows[1:]:
        assert f"{row['percent']:.2f}" in table


@pytest.mark.parametrize("workers", [0, 1])
def test_augmented_passes_differ(tool, monkeypatch, folder, checkpoint, tmp_path, workers):
    given = []
    monkeypatch.setitem(tool.PROTOCOLS, "linear-fast", lambda sets, _: given.append(sets) or [])
    options = ["--data", folder, "--protocol", "linear-fast", "--augment", "2"]
    monkeypatch.setattr(command, "FAST", ["--workers", str(workers), "--image-size", "8"])
    assert run(tool, monkeypatch, checkpoint, *options, "--out", tmp_path / "out") == 0
    first, second = given[0].augmented
    assert (first != second).any(dim=1).float().mean() > 0.9


def test_voc_is_judged_over_its_classes_and_only_by_the_svms(
    tool, monkeypatch, capsys, voc, checkpoint, tmp_path
):
    from mmpretrain.datasets import VOC

    monkeypatch.setitem(VOC.METAINFO, "classes", ("cat", "dog", "horse"))
    out = tmp_path / "out"
    options = ["--data", voc, "--protocol", "svm", "--costs", "1", "--out", out]
    assert run(tool, monkeypatch, checkpoint, *options, "--rule", "11point") == 0
    row = json.loads((out / "evaluation.json").read_text())["results"][1]
    assert row["metric"] == "mAP (11point)"
    assert row["percent"] > 90
    assert run(tool, monkeypatch, checkpoint, *options[:2], "--protocol", "knn") == 2
    assert "knn needs one label per image" in capsys.readouterr().err


def test_arrays_and_a_stranger_s_layout_need_a_config(tool, monkeypatch, capsys, tmp_path):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        images = np.stack([noise(list(COLOURS.values())[i % 3], random)[:8, :8] for i in range(30)])
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.arange(30) % 3)
    resnet = dict(type="ResNet", depth=18, base_channels=8, stem_channels=8)
    cfg = Config(dict(model=models.config(backbone=resnet)))
    cfg.model.neck.in_channels = 64
    cfg.dump(tmp_path / "config.py")
    state = MODELS.build(cfg.model.backbone).state_dict()
    path = tmp_path / "moco.pth.tar"  # FAIR's names
    torch.save({"state_dict": {f"module.encoder_q.{k}": v for k, v in state.items()}}, path)
    options = ["--data", tmp_path, "--protocol", "knn"]
    assert run(tool, monkeypatch, path, *options) == 2
    said = capsys.readouterr().err
    assert "does not say which model it belongs to: name its --config" in said
    assert f"perhaps {tmp_path / 'config.py'}, which lies beside it" in said
    options += ["--config", tmp_path / "config.py", "--out", tmp_path / "out"]
    assert run(tool, monkeypatch, path, *options) == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["test"] == 30


@pytest.mark.parametrize("record", ["with the model", "of an older export"])
def test_exported_weights_are_judged_as_their_checkpoint_is(
    tool, monkeypatch, capsys, folder, checkpoint, tmp_path, record
):
    exported = tmp_path / "run" / "backbone.pth"
    exported.parent.mkdir()
    stored = torch.load(checkpoint, weights_only=True)
    file = prepare_file(stored, checkpoint, "mmpretrain")
    if record == "of an older export":
        file.record.pop("cfg")
    file.write(exported)
    command = ["--data", folder, "--protocol", "knn", "--out"]
    if record == "of an older export":
        assert run(tool, monkeypatch, exported, *command, tmp_path / "no") == 2
        assert "name its --config\n" in capsys.readouterr().err
        # The config of a run, written in full: it is parsed, so a line that raises does no harm.
        (exported.parent / "config.py").write_text(stored["meta"]["cfg"] + "raise SystemExit\n")
    else:
        (exported.parent / "config.py").write_text("model = dict(type='Another')\n")
    results = []
    for path in (checkpoint, exported):
        out = tmp_path / path.stem
        assert run(tool, monkeypatch, path, *command, out) == 0
        rows = json.loads((out / "evaluation.json").read_text())["results"]
        results.append([(row["setting"], row["metric"], row["percent"]) for row in rows])
    assert results[0] == results[1]
    if record == "of an older export":  # half a model is not taken for one
        (exported.parent / "config.py").write_text("_base_ = 'a.py'\nmodel = dict(queue_len=4)\n")
        assert run(tool, monkeypatch, exported, *command, tmp_path / "no") == 2
        assert "which lies beside it" in capsys.readouterr().err


def test_without_a_folder_the_sets_of_the_config_s_knn_loop_are_taken(
    tool, monkeypatch, checkpoint, tmp_path
):
    from ..evaluation.toy import loader

    cfg = Config(dict(model=models.config(), val_dataloader=loader(50, seed=2)))
    cfg.val_cfg = dict(type="KNNValLoop", bank_dataloader=loader(60, seed=1))
    cfg.custom_imports = dict(imports=["tests.evaluation.toy"])
    cfg.dump(tmp_path / "config.py")
    options = ["--config", tmp_path / "config.py", "--protocol", "knn", "--out", tmp_path / "out"]
    assert run(tool, monkeypatch, checkpoint, *options) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (report["train"], report["test"]) == (60, 50)
