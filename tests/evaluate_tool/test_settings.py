# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Settings of tools/evaluate.py: errors that users can mend, the image size, the help."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config

from .. import models
from ..tool_modules import import_tool, run_tool
from . import command
from .command import run


def test_errors_name_what_is_at_fault(tool, monkeypatch, capsys, folder, checkpoint, tmp_path):
    def message(*arguments) -> str:
        assert run(tool, monkeypatch, *arguments) == 2
        return capsys.readouterr().err

    knn = ["--protocol", "knn"]
    assert "There is no checkpoint" in message(tmp_path / "no.pth", "--data", folder)
    assert "name a labelled folder with --data" in message(checkpoint)
    assert "does not exist; a labelled set is" in message(checkpoint, "--data", tmp_path / "no")
    assert "holds blue, green, red" in message(checkpoint, "--data", folder / "train")

    state = torch.load(checkpoint, weights_only=True)
    del state["state_dict"]["backbone.conv.weight"]
    torch.save(state, tmp_path / "part.pth")
    said = message(tmp_path / "part.pth", "--data", folder)
    assert "does not hold the backbone" in said
    assert "backbone.conv.weight" in said

    state["state_dict"]["backbone.conv.weight"] = torch.full((16, 3, 3, 3), torch.nan)
    torch.save(state, tmp_path / "nan.pth")
    said = message(tmp_path / "nan.pth", "--data", folder, *knn)
    assert "'backbone.conv.weight' holds 432 values that are not finite" in said

    (folder / "val" / "red").rename(folder / "val" / "pink")
    assert "differ in their classes: pink, red" in message(checkpoint, "--data", folder, *knn)
    (folder / "val" / "pink").rename(folder / "val" / "red")
    for file in (folder / "val").rglob("*.png"):
        file.unlink()
    assert "no images in" in message(checkpoint, "--data", folder, *knn)


def test_a_named_k_without_images_is_refused_before_features_are_extracted(
    tool, monkeypatch, capsys, folder, checkpoint
):
    monkeypatch.setattr(tool, "collect_features", None)
    for name, k, option, images in (("knn", 25, "--k", 24), ("retrieval", 15, "--recall", 14)):
        monkeypatch.setattr(command, "FAST", ["--workers", "0", option, str(k)])
        assert run(tool, monkeypatch, checkpoint, "--data", folder, "--protocol", name) == 2
        assert f"k = {k} neighbours, but the bank has {images} images" in capsys.readouterr().err


def test_an_unknown_protocol_is_refused_with_those_that_exist(tool, monkeypatch, capsys):
    assert run_tool(tool, monkeypatch, "a.pth", "--protocol", "knn,probe") == 2
    assert "probe: choose from knn,linear-fast,svm,low-shot,retrieval" in capsys.readouterr().err


def test_arrays_without_labels_are_refused(tool, monkeypatch, capsys, checkpoint, tmp_path):
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", images=np.zeros((4, 8, 8, 3), np.uint8))
    assert run(tool, monkeypatch, checkpoint, "--data", tmp_path, "--protocol", "knn") == 2
    assert "one label per image is needed, but in the train image 0 has no gt_label" in (
        capsys.readouterr().err
    )


def sized_config(tmp_path, size) -> Path:
    """The checkpoint's model, trained on views of a size."""
    crop = dict(type="RandomResizedCrop", scale=size)
    cfg = dict(model=models.config(), train_dataloader=dict(dataset=dict(pipeline=[crop])))
    Config(cfg).dump(tmp_path / f"views{size}.py")
    return tmp_path / f"views{size}.py"


def test_the_size_is_the_training_views_and_is_said_and_recorded(
    tool, monkeypatch, capsys, folder, checkpoint, tmp_path
):
    monkeypatch.setattr(command, "FAST", ["--workers", "0", "--k", "3"])
    out = tmp_path / "out"
    options = [checkpoint, "--data", folder, "--protocol", "knn"]
    named = [*options, "--config", sized_config(tmp_path, 12)]
    assert run(tool, monkeypatch, *named, "--out", out / "12") == 0
    assert "image size 12 px: that of the training views (RandomResizedCrop in" in (
        capsys.readouterr().err
    )
    assert json.loads((out / "12" / "evaluation.json").read_text())["image_size"] == 12
    assert "; image_size 12;" in (out / "12" / "evaluation.md").read_text()
    assert run(tool, monkeypatch, *named, "--out", out / "9", "--image-size", "9") == 0
    assert "image size 9 px: --image-size" in capsys.readouterr().err
    assert json.loads((out / "9" / "evaluation.json").read_text())["image_size"] == 9
    assert run(tool, monkeypatch, *options, "--out", out / "usual") == 0
    assert "image size 224 px: the usual one" in capsys.readouterr().err


def test_arrays_keep_their_own_size_also_in_crops(tool, monkeypatch, capsys, checkpoint, tmp_path):
    random = np.random.default_rng(0)
    for split in ("train", "test"):
        images = random.integers(0, 256, (30, 10, 10, 3), dtype=np.uint8)
        np.savez(tmp_path / f"{split}.npz", images=images, labels=np.arange(30) % 3)
    monkeypatch.setattr(command, "FAST", ["--workers", "0", "--epochs", "2"])
    options = ["--data", tmp_path, "--protocol", "linear-fast", "--augment", "1"]
    assert run(tool, monkeypatch, checkpoint, *options, "--out", tmp_path / "out") == 0
    assert "image size 10 px: the arrays' own" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["image_size"] == 10


def test_no_evaluation_overwrites_one_of_other_settings(
    tool, monkeypatch, capsys, folder, checkpoint, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(command, "FAST", ["--workers", "0"])
    other = tmp_path / "elsewhere" / "set"
    shutil.copytree(folder, other)

    def files() -> dict[str, bytes]:
        return {str(f): f.read_bytes() for f in Path("work_dirs").rglob("evaluation.json")}

    def go(data, size, *options) -> int:
        name = ["--data", data, "--image-size", size, "--protocol", "knn"]
        return run(tool, monkeypatch, checkpoint, *name, *options)

    assert go(folder, 8, "--k", "3") == 0
    kept = files()
    # Another size has a folder of its own; so has a set of another name.
    assert go(folder, 9, "--k", "3") == 0
    assert go(folder.rename(tmp_path / "named"), 8, "--k", "3") == 0
    assert sorted(Path(f).parent.name for f in files()) == ["named-8px", "set-8px", "set-9px"]
    (tmp_path / "named").rename(folder)
    capsys.readouterr()
    for data, option, said in (
        (folder, ["--k", "5"], "ks was [3], now [5]"),
        (folder, ["--k", "3", "--temperature", "none"], "temperatures was [0.07], now [None]"),
        (folder, ["--k", "3", "--protocol", "knn,retrieval"], "now ['knn', 'retrieval']"),
        (other, ["--k", "3"], "data folder (SHA-256 of its path) was"),
    ):
        assert go(data, 8, *option) == 2
        message = capsys.readouterr().err
        assert said in message
        assert "Name another folder with --out" in message
    assert kept.items() <= files().items()
    assert go(other, 8, "--k", "5", "--out", tmp_path / "out") == 0
    assert go(folder, 8, "--k", "3") == 0  # equal settings may


@pytest.mark.parametrize("name", ["evaluate", "embed"])
def test_the_help_names_protocols_and_defaults(name, monkeypatch, capsys):
    monkeypatch.setenv("COLUMNS", "1000")  # a break within linear-fast would hide it
    assert run_tool(import_tool(name), monkeypatch, "--help") == 0
    said = " ".join(capsys.readouterr().out.split())
    shared = ["images at once, from 1; default: 256", "where the config names it, else 224"]
    protocols = [
        "of knn, linear-fast, svm, low-shot, retrieval; default: knn,linear-fast,retrieval"
    ]
    protocols += ["those of 10 20 200 that there are images for", "heads, from 1; default: 100"]
    for words in [*shared, *(protocols if name == "evaluate" else [])]:
        assert words in said
