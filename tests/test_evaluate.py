# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/evaluate.py: the run as users start it, the kinds of folder, the errors they can mend."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

from xmoco_plugin.checkpoint import sha256_of

from . import models
from .tool_modules import import_tool, run_tool

ROOT = Path(__file__).resolve().parents[1]
COLOURS = {"blue": (40, 60, 190), "green": (50, 180, 60), "red": (200, 60, 40)}
FAST = ["--workers", "0", "--jobs", "1", "--image-size", "8", "--epochs", "5", "--k", "3"]


@pytest.fixture
def tool():
    return import_tool("evaluate")


def noise(colour, random) -> np.ndarray:
    return np.clip(colour + random.normal(0, 40, (10, 12, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def folder(tmp_path):
    """train/ and val/, a folder for each of three colours."""
    random = np.random.default_rng(0)
    for split, count in (("train", 8), ("val", 5)):
        for name, colour in COLOURS.items():
            (tmp_path / "set" / split / name).mkdir(parents=True)
            for i in range(count):
                image = Image.fromarray(noise(colour, random))
                image.save(tmp_path / "set" / split / name / f"{i}.png")
    return tmp_path / "set"


@pytest.fixture
def voc(tmp_path):
    """VOC's layout with three classes; every fourth object is difficult."""
    random = np.random.default_rng(0)
    root = tmp_path / "VOC"
    for name in ("JPEGImages", "Annotations", "ImageSets/Main"):
        (root / name).mkdir(parents=True)
    for split, count in (("trainval", 24), ("test", 18)):
        ids = [f"{split}{i}" for i in range(count)]
        (root / "ImageSets" / "Main" / f"{split}.txt").write_text("\n".join(ids))
        for i, name in enumerate(ids):
            colour = list(COLOURS.values())[i % 3]
            Image.fromarray(noise(colour, random)).save(root / "JPEGImages" / f"{name}.jpg")
            label = ("cat", "dog", "horse")[i % 3]
            objects = f"<object><name>{label}</name><difficult>0</difficult></object>"
            if i % 4 == 0:
                objects += "<object><name>cow</name><difficult>1</difficult></object>"
            text = f"<annotation>{objects}</annotation>"
            (root / "Annotations" / f"{name}.xml").write_text(text)
    return root


@pytest.fixture
def checkpoint(tmp_path):
    """As mmengine writes it, with the config inside; its backbone tells colours."""
    path = tmp_path / "epoch_1.pth"
    models.save_checkpoint(path)
    return path


def run(tool, monkeypatch, *arguments) -> int:
    return run_tool(tool, monkeypatch, *arguments, *FAST)


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
    monkeypatch.setattr(
        sys.modules[__name__], "FAST", ["--workers", str(workers), "--image-size", "8"]
    )
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
    assert "does not say which model it belongs to: name its --config" in capsys.readouterr().err
    options += ["--config", tmp_path / "config.py", "--out", tmp_path / "out"]
    assert run(tool, monkeypatch, path, *options) == 0
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["test"] == 30


def test_without_a_folder_the_sets_of_the_config_s_knn_loop_are_taken(
    tool, monkeypatch, checkpoint, tmp_path
):
    from .evaluation.toy import loader

    cfg = Config(dict(model=models.config(), val_dataloader=loader(50, seed=2)))
    cfg.val_cfg = dict(type="KNNValLoop", bank_dataloader=loader(60, seed=1))
    cfg.custom_imports = dict(imports=["tests.evaluation.toy"])
    cfg.dump(tmp_path / "config.py")
    options = ["--config", tmp_path / "config.py", "--protocol", "knn", "--out", tmp_path / "out"]
    assert run(tool, monkeypatch, checkpoint, *options) == 0
    report = json.loads((tmp_path / "out" / "evaluation.json").read_text())
    assert (report["train"], report["test"]) == (60, 50)


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
    assert "24 of 24 feature rows hold NaN or infinity" in said

    (folder / "val" / "red").rename(folder / "val" / "pink")
    assert "differ in their classes: pink, red" in message(checkpoint, "--data", folder, *knn)
    for file in (folder / "val").rglob("*.png"):
        file.unlink()
    assert "no image in any folder" in message(checkpoint, "--data", folder, *knn)


def test_a_named_k_without_images_is_refused_before_features_are_extracted(
    tool, monkeypatch, capsys, folder, checkpoint
):
    monkeypatch.setattr(tool, "collect_features", None)
    for name, k, option, images in (("knn", 25, "--k", 24), ("retrieval", 15, "--recall", 14)):
        monkeypatch.setattr(sys.modules[__name__], "FAST", ["--workers", "0", option, str(k)])
        assert run(tool, monkeypatch, checkpoint, "--data", folder, "--protocol", name) == 2
        assert f"k = {k} neighbours, but the bank has {images} images" in capsys.readouterr().err


def test_an_unknown_protocol_is_refused_with_those_that_exist(tool, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["evaluate.py", "a.pth", "--protocol", "knn,probe"])
    with pytest.raises(SystemExit):
        tool.parse_args()
    assert "probe: choose from knn,linear-fast,svm,low-shot,retrieval" in capsys.readouterr().err


def test_arrays_without_labels_are_refused(tool, monkeypatch, capsys, checkpoint, tmp_path):
    for split in ("train", "test"):
        np.savez(tmp_path / f"{split}.npz", images=np.zeros((4, 8, 8, 3), np.uint8))
    assert run(tool, monkeypatch, checkpoint, "--data", tmp_path, "--protocol", "knn") == 2
    assert "one label per image is needed, but in the train image 0 has no gt_label" in (
        capsys.readouterr().err
    )
