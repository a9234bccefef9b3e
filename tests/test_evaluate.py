# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/evaluate.py: the run as users start it, the kinds of folder, the errors they can mend."""

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS
from PIL import Image

from xmoco_plugin.checkpoint import sha256_of
from xmoco_plugin.export import prepare_file

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


def sized_config(tmp_path, size) -> Path:
    """The checkpoint's model, trained on views of a size."""
    crop = dict(type="RandomResizedCrop", scale=size)
    cfg = dict(model=models.config(), train_dataloader=dict(dataset=dict(pipeline=[crop])))
    Config(cfg).dump(tmp_path / f"views{size}.py")
    return tmp_path / f"views{size}.py"


def test_the_size_is_the_training_views_and_is_said_and_recorded(
    tool, monkeypatch, capsys, folder, checkpoint, tmp_path
):
    monkeypatch.setattr(sys.modules[__name__], "FAST", ["--workers", "0", "--k", "3"])
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
    monkeypatch.setattr(sys.modules[__name__], "FAST", ["--workers", "0", "--epochs", "2"])
    options = ["--data", tmp_path, "--protocol", "linear-fast", "--augment", "1"]
    assert run(tool, monkeypatch, checkpoint, *options, "--out", tmp_path / "out") == 0
    assert "image size 10 px: the arrays' own" in capsys.readouterr().err
    assert json.loads((tmp_path / "out" / "evaluation.json").read_text())["image_size"] == 10


def test_no_evaluation_overwrites_one_of_other_settings(
    tool, monkeypatch, capsys, folder, checkpoint, tmp_path
):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys.modules[__name__], "FAST", ["--workers", "0"])
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
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "--help"])
    with pytest.raises(SystemExit) as end:
        import_tool(name).parse_args()
    assert end.value.code == 0
    said = " ".join(capsys.readouterr().out.split())
    shared = ["images at once; default: 256", "where the config names it, else 224"]
    protocols = [
        "of knn, linear-fast, svm, low-shot, retrieval; default: knn,linear-fast,retrieval"
    ]
    protocols += ["those of 10 20 200 that there are images for", "heads; default: 100"]
    for words in [*shared, *(protocols if name == "evaluate" else [])]:
        assert words in said
