# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/eval_knn.py: the run as users start it, and the errors that they can mend."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from .evaluation.toy import loader, runner_config
from .tool_modules import import_tool, run_tool


def write_config(folder: Path, **changes) -> Path:
    """A config file as a user has one: training entries and hooks beside the kNN loop."""
    settings = runner_config(folder / "work", k=5) | {
        "custom_imports": {"imports": ["tests.evaluation.toy"]},
        "train_dataloader": loader(48, seed=0, views=2),
        "train_cfg": {"by_epoch": True, "max_epochs": 1},
        "optim_wrapper": {"optimizer": {"type": "SGD", "lr": 0.1}},
        "custom_hooks": [{"type": "NoSuchHook"}],
        "default_hooks": {"checkpoint": {"type": "CheckpointHook", "save_best": "accuracy/top1"}},
    }
    Config(settings | changes).dump(folder / "config.py")
    return folder / "config.py"


def save_model(path: Path, **changes) -> Path:
    """A checkpoint of the config's model with weights of its own: only its filters tell colours."""
    torch.manual_seed(1)
    model = MODELS.build(runner_config(path)["model"])
    state = model.state_dict() | changes
    torch.save({"state_dict": state, "meta": {"epoch": 1}}, path)
    return path


@pytest.fixture(scope="module")
def tool():
    """The module eval_knn of tools/, which is no package."""
    return import_tool("eval_knn")


def fails(tool, monkeypatch, capsys, *arguments) -> str:
    """Runs the tool, which must end with status 2; returns what it says."""
    assert run_tool(tool, monkeypatch, *arguments) == 2
    return capsys.readouterr().err


def test_the_tool_prints_a_table_and_writes_the_same_numbers(tool, tmp_path, monkeypatch, capsys):
    config = write_config(tmp_path)
    # All filters of the saved weights are zero but for the bias: the file's weights score chance,
    # which shows that they, and not the fresh ones, were judged.
    constant = save_model(
        tmp_path / "constant.pth", **{"backbone.conv.weight": torch.zeros(16, 3, 3, 3)}
    )
    out = tmp_path / "knn.json"
    words = ("--k", 5, 1, "--temperature", 0.1, "none", "--out", out)
    assert run_tool(tool, monkeypatch, config, constant, *words) == 0
    printed = capsys.readouterr().out
    report = json.loads(out.read_text())
    assert (report["bank"], report["queries"]) == (60, 50)
    settings = [(row["k"], row["temperature"]) for row in report["results"]]
    assert settings == [(5, 0.1), (5, None), (1, 0.1), (1, None)]
    assert all(10 < row["accuracy/top1"] < 25 for row in report["results"])
    table = printed[printed.index("50 queries, bank of 60") :].splitlines()
    assert table[1].split() == ["k", "temperature", "accuracy/top1", "accuracy/top3"]
    for line, row in zip(table[2:6], report["results"], strict=True):
        assert line.split()[:2] == [str(row["k"]), str(row["temperature"])]
        assert float(line.split()[2]) == pytest.approx(row["accuracy/top1"], abs=0.006)


def test_a_good_backbone_wins_whatever_the_rest_of_the_checkpoint(
    tool, tmp_path, monkeypatch, capsys
):
    path = save_model(tmp_path / "good.pth", queue=torch.zeros(8, 99), unknown=torch.zeros(1))
    out = tmp_path / "knn.json"
    assert run_tool(tool, monkeypatch, write_config(tmp_path), path, "--out", out) == 0
    (row,) = json.loads(out.read_text())["results"]
    assert row["accuracy/top1"] > 90


def test_a_config_without_a_knn_loop_says_what_to_add(tool, tmp_path, monkeypatch, capsys):
    config = write_config(tmp_path, val_cfg={"type": "ValLoop"})
    message = fails(tool, monkeypatch, capsys, config, save_model(tmp_path / "a.pth"))
    assert "has no kNN loop (val_cfg.type is ValLoop)" in message
    assert "val_cfg=dict(type='KNNValLoop', bank_dataloader=...)" in message


def test_a_checkpoint_of_another_backbone_is_refused_with_its_shapes(
    tool, tmp_path, monkeypatch, capsys
):
    wrong = save_model(tmp_path / "a.pth", **{"backbone.conv.weight": torch.zeros(4, 3, 3, 3)})
    message = fails(tool, monkeypatch, capsys, write_config(tmp_path), wrong)
    assert "does not hold the backbone of this config" in message
    assert "backbone.conv.weight" in message


def test_a_checkpoint_without_a_backbone_is_refused(tool, tmp_path, monkeypatch, capsys):
    torch.save({"state_dict": {"conv.weight": torch.zeros(4)}}, tmp_path / "a.pth")
    message = fails(tool, monkeypatch, capsys, write_config(tmp_path), tmp_path / "a.pth")
    assert "No query backbone that is known is in this file" in message


def test_a_missing_checkpoint_is_named(tool, tmp_path, monkeypatch, capsys):
    message = fails(tool, monkeypatch, capsys, write_config(tmp_path), tmp_path / "no.pth")
    assert "There is no checkpoint" in message


def test_more_neighbours_than_images_end_without_a_traceback(tool, tmp_path, monkeypatch, capsys):
    path = save_model(tmp_path / "a.pth")
    message = fails(tool, monkeypatch, capsys, write_config(tmp_path), path, "--k", "61")
    assert "k = 61 neighbours, but the bank has 60 images" in message
