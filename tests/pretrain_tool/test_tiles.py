# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""xmoco pretrain --tiles: scenes of four channels and 12 bits, from the scan to evaluation."""

import shlex

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from xmoco_plugin.checkpoint import read_checkpoint

from ..data.tiffs import noise, write
from ..tool_modules import import_tool, run_tool
from .command import FAST, refused, run

MODEL = ("--model", "resnet18", "--epochs", 1)
NODATA = dict(extratags=[(42113, "s", 0, "0", True)], photometric="minisblack")


def scene(height: int, width: int, seed: int) -> np.ndarray:
    """Blocks and noise of four channels, 12 bits."""
    blocks = noise(height // 8 + 1, width // 8 + 1, 4, "uint16", seed) * 10
    blocks = blocks.repeat(8, 0).repeat(8, 1)[:height, :width]
    return blocks + noise(height, width, 4, "uint16", seed + 100) * 6 + 1


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """Two scenes, one with an empty corner; labelled chips of two classes."""
    root = tmp_path_factory.mktemp("scenes")
    for folder in ("scenes", "labels/train/x", "labels/train/y", "labels/val/x", "labels/val/y"):
        (root / folder).mkdir(parents=True)
    first = scene(200, 210, 0)
    first[:64, :64] = 0
    write(root / "scenes/a.tif", first, tile=(32, 32), compression="zlib", **NODATA)
    write(root / "scenes/b.tif", scene(150, 140, 1), planar=True, **NODATA)
    for number, folder in enumerate(sorted((root / "labels").glob("*/*"))):
        for n in range(4):
            chip = scene(64, 70, 10 * number + n + 2) // (1 + 3 * (folder.name == "y"))
            write(folder / f"{n}.tif", chip, **NODATA)
    return root


@pytest.fixture(scope="module")
def begun(data, tmp_path_factory):
    """A run to its end."""
    out = tmp_path_factory.mktemp("runs") / "run"
    words = ("--data", data / "scenes", "--labels", data / "labels", "--out", out, "--tiles", 64)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(import_tool("pretrain").end, "report", lambda folder: None)
        done = run(*words, *FAST, *MODEL)
    assert done.returncode == 0, (done.stdout + done.stderr)[-4000:]
    return out, done.stdout + done.stderr, words


def test_a_set_of_four_channels_and_16_bits_goes_from_the_scan_to_evaluation(
    data, begun, tmp_path, monkeypatch, capsys
):
    out, said, _ = begun
    for text in (
        "channels: 4 of uint16, values 1 to ",
        "read as 12 bits (the largest value decides), 0 to 4095 as 0 to 255 without rounding",
        "tiles: 24 of 64 px, 9 to 15 a picture",
        "tiles left out: 1 of one colour",
        "without hue, saturation and grey",
        "those of the files",
    ):
        assert text in said, text
    assert len((out / "tiles.txt").read_text().splitlines()) == 24
    cfg = Config.fromfile(out / "config.py")
    assert cfg.model.backbone.in_channels == 4
    record = read_checkpoint(out / "backbone.pth")["meta"]
    assert (record["in_channels"], record["value_range"], record["tiles"]) == (4, [0, 4095], 64)
    assert record["mean"] == pytest.approx(cfg.data_preprocessor.mean)
    steps = (out / "next_steps.md").read_text()
    assert "in_channels=4" in steps
    assert not (out / "finetune_mmdet.py").exists()
    # The weights alone, elsewhere, read as the training did.
    alone = tmp_path / "alone.pth"
    alone.write_bytes((out / "backbone.pth").read_bytes())
    embed, words = import_tool("embed"), ("--workers", 0, "--out", tmp_path / "f.npz")
    line = next(line for line in steps.splitlines() if " xmoco embed " in line)
    printed = shlex.split(line.replace("FOLDER_OF_IMAGES", str(data / "scenes")))[4:]
    assert printed[2:] == ["--out", str(out / "features.npz"), "--tiles", "64"]
    assert run_tool(embed, monkeypatch, alone, *printed[1:], *words) == 0
    found = np.load(tmp_path / "f.npz")
    assert found["names"][:2].tolist() == ["a.tif[0,0]", "a.tif[0,64]"]
    assert found["features"].shape == (25, 512)
    assert run_tool(embed, monkeypatch, alone, data / "scenes", *words) == 0
    assert "trained on tiles of 64 px, and images are seen whole here" in capsys.readouterr().err
    monkeypatch.chdir(tmp_path)
    words = ("--data", data / "labels", "--workers", 0, "--protocol", "knn")
    assert run_tool(import_tool("evaluate"), monkeypatch, alone, *words) == 0
    assert "| knn |" in capsys.readouterr().out
    knn = import_tool("eval_knn")
    assert run_tool(knn, monkeypatch, out / "config.py", out / "backbone.pth") == 0


def test_it_goes_on_and_weights_of_three_channels_are_dealt_to_four(
    data, begun, tool, monkeypatch, tmp_path, capsys
):
    out, _, words = begun
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    monkeypatch.setattr(tool.end, "finish", lambda *_: None)
    before = (out / "scan_channels.jsonl").read_text(), (out / "tiles.txt").read_text()
    assert run_tool(tool, monkeypatch, *words, *FAST, *MODEL) == 0
    assert "2 images as before" in capsys.readouterr().out
    assert ((out / "scan_channels.jsonl").read_text(), (out / "tiles.txt").read_text()) == before
    torchvision = pytest.importorskip("torchvision")
    state = torchvision.models.resnet18().state_dict()
    torch.save(state, tmp_path / "r18.pth")
    more = ("--data", data / "scenes", "--out", tmp_path / "run", "--tiles", 64, *FAST)
    init = ("--init", tmp_path / "r18.pth", "--model", "resnet18", "--bit-depth", 14)
    assert run_tool(tool, monkeypatch, *more, *init) == 0
    said = capsys.readouterr().out
    assert "conv1.weight: red, green and blue dealt in turn to 4 channels" in said
    assert "read as 14 bits (given)" in said
    found = read_checkpoint(tmp_path / "run/init.pth")["state_dict"]["backbone.conv1.weight"]
    assert torch.equal(found[:, 1:3], state["conv1.weight"][:, 1:])
    assert torch.equal(found[:, 0], state["conv1.weight"][:, 0] / 2)


def test_what_does_not_fit_is_said_at_once_and_before_any_training(
    data, tool, monkeypatch, tmp_path, capsys
):
    words = ("--data", data / "scenes", "--out", tmp_path / "run")
    begin = (tool, monkeypatch, capsys, *words)
    said = refused(*begin, "--tiles", 64, "--image-size", 96)
    assert "--tiles 64: the views of --image-size 96 px would be enlarged" in said
    assert "--teacher looks at whole images" in refused(*begin, "--tiles", 64, "--teacher", "x.pth")
    assert "from 64 to 8,192" in refused(*begin, "--tiles", 32)
    said = refused(*begin, "--tiles", 256)
    assert "tiles are larger than 2 of 2 pictures; the smallest has 140x150 px" in said
    assert "--tiles 140 takes it too" in said
    Image.fromarray(noise(200, 200, 3)).save(tmp_path / "x.png")
    said = refused(*begin[:3], "--data", data / "scenes", tmp_path / "x.png", *words[2:])
    assert "the channels differ between the files: 2 of 4 channels of uint16" in said
    assert "--channels 5: the files are others" in refused(*begin, "--channels", 5)
    np.savez(tmp_path / "train.npz", images=noise(9, 8, 3)[None])
    said = refused(*begin[:3], "--data", tmp_path / "train.npz", *words[2:], "--tiles", 64)
    assert "train.npz" in said
    assert not (tmp_path / "run/config.py").exists()
