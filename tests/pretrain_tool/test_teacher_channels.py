# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""xmoco pretrain --teacher on images of many channels: from TIFFs of 12 bits to a backbone."""

import json

import numpy as np
import pytest
import torch
from mmengine.config import Config

from tests.teachers.files import RESNET, own_file
from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.data.shards import write_shards
from xmoco_plugin.pretraining.memory import StepCost
from xmoco_plugin.teachers import read_lesson
from xmoco_plugin.teachers.lesson import FEATURES, FILE
from xmoco_plugin.teachers.stored import HEAD

from ..format_once import leave_unformatted
from ..pretraining.folder import draw
from ..tool_modules import run_tool
from .command import FAST, refused, run

pytest.importorskip("tifffile")
from ..data.tiffs import noise, write

SIZE = ("--teacher-size", 32)
MODEL = ("--model", "ConvNeXt:atto", *SIZE)
IMAGES, CHANNELS = 14, 4


def picture(seed: int, channels: int = CHANNELS) -> np.ndarray:
    """Blocks and noise, 12 bits."""
    blocks = noise(5, 6, channels, "uint16", seed).repeat(8, 0).repeat(8, 1)
    return 10 * blocks + 6 * noise(40, 48, channels, "uint16", seed + 100)


def fill(folder, number: int, channels: int = CHANNELS, seed: int = 0):
    folder.mkdir(parents=True)
    for i in range(number):
        write(folder / f"{i}.tif", picture(seed + i, channels), photometric="minisblack")
    return folder


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    """Images of four channels, and labelled ones of two classes."""
    root = tmp_path_factory.mktemp("scenes")
    fill(root / "images", IMAGES)
    for number, part in enumerate(("train/x", "train/y", "val/x", "val/y")):
        fill(root / "labels" / part, 4, seed=200 + 10 * number)
    return root


@pytest.fixture
def begin(tool, monkeypatch, scenes, teacher):
    """Starts the tool, which prepares a run and does not train it; returns the exit status."""
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    monkeypatch.setattr(tool.end, "finish", lambda *_: None)
    monkeypatch.setenv("XMOCO_NAMED_SET", "")
    cost = StepCost(fixed=10**6, per_image=10**5, seconds_per_image=1e-3, checkpoint=10**6)
    monkeypatch.setattr(own, "measure_step", lambda *_: cost)
    leave_unformatted(monkeypatch)

    def start(out, *more, data=scenes / "images", net=teacher):
        words = ("--data", data, "--out", out, "--teacher", net, *FAST, *MODEL)
        return run_tool(tool, monkeypatch, *words, *more)

    return start


def head(folder) -> dict:
    return json.loads((folder / FEATURES).read_bytes()[:HEAD])


def test_the_documented_command_goes_from_many_channels_to_a_backbone(
    scenes, teacher, tool, tmp_path, monkeypatch
):
    monkeypatch.setattr(tool.end, "report", lambda folder: None)
    out = tmp_path / "run"
    words = ("--data", scenes / "images", "--labels", scenes / "labels", "--out", out)
    words += (*FAST, *SIZE, "--model", "resnet18", "--epochs", 1)
    words += ("--teacher", teacher, "--teacher-channels", "3,2,1")
    done = run(*words)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-4000:]
    for text in (
        "channels: 4 of uint16, values 0 to ",
        "an image of 32 px (channels 3, 2, 1 of 4 as red, green and blue), 13 of them kept",
        "the teacher sees each of them at the mean and the deviation of ordinary pictures",
        "kNN of 8 images",
        "before training, the teacher's",
    ):
        assert text in printed, text
    assert "the first three" not in printed
    assert head(out)["channels"] == "3,2,1"
    cfg = Config.fromfile(out / "config.py")
    pipeline = [step.type for step in cfg.train_dataloader.dataset.pipeline]
    assert pipeline == ["LoadChannelsOrSkip", "OneChannelView", "PackInputs"]
    found = read_checkpoint(out / "backbone.pth")
    assert found["state_dict"]["backbone.conv1.weight"].shape[1] == CHANNELS
    assert (found["meta"]["in_channels"], found["meta"]["value_range"]) == (CHANNELS, [0, 4095])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert any("loss_relation" in line for line in lines)
    # The same command again is the same run, and another choice is named.
    again = run(*words)
    assert "all 1 epochs are done" in again.stdout + again.stderr
    again = run(*words[:-1], "1,2,3")
    assert "--teacher-channels was 3,2,1, now 1,2,3" in again.stderr


def test_without_a_choice_the_first_three_of_four_are_taken_and_this_is_said(begin, tmp_path):
    assert begin(tmp_path / "run", "--teacher-beside-moco", 0.5, "--queue-len", 8) == 0
    cfg = Config.fromfile(tmp_path / "run" / "config.py")
    assert (cfg.model.type, cfg.model.backbone.in_channels) == ("TaughtXMoCo", CHANNELS)
    assert cfg.train_dataloader.dataset.pipeline[1].type == "ChannelViews"
    said = (tmp_path / "run" / "opening.txt").read_text()
    assert "(channels 1, 2, 3 of 4 as red, green and blue)" in said
    assert "the first three of 4 channels are taken for red, green and blue; " in said
    assert head(tmp_path / "run")["channels"] == "1,2,3"


def test_features_of_other_channels_are_refused_and_one_channel_is_grey(begin, tmp_path, capsys):
    out = tmp_path / "run"
    assert begin(out, "--teacher-channels", "3,2,1") == 0
    (out / "config.py").unlink()  # as a run that was stopped before it was set up
    assert begin(out, "--teacher-channels", "4") == 2
    said = capsys.readouterr().err
    assert "holds features of other channels: 3,2,1, and the teacher is shown 4. Remove it" in said
    (out / FEATURES).unlink()
    assert begin(out, "--teacher-channels", "4") == 0
    assert "(channel 4 of 4 as grey)" in (out / "opening.txt").read_text()


def test_a_teacher_that_sees_each_crop_keeps_what_it_is_shown_and_how(begin, tmp_path, tool):
    out = tmp_path / "run"
    assert begin(out, "--teacher-views", "crop", "--teacher-channels", "4,2,1") == 0
    assert not (out / FEATURES).exists()
    lesson = read_lesson(out / FILE)
    assert lesson.belongs.channels == "4,2,1"
    cfg = Config.fromfile(out / "config.py")
    assert cfg.model.own_crop
    mean = torch.tensor(cfg.data_preprocessor.mean)[[3, 1, 0]]
    # The small teacher says mean 1, 2, 3 and deviation 4, 5, 6: an ordinary picture of its own.
    std = torch.tensor(cfg.data_preprocessor.std)[[3, 1, 0]]
    ordinary = torch.tensor([123.675, 116.28, 103.53]), torch.tensor([58.395, 57.12, 57.375])
    seen = (mean - lesson.network.mean.flatten()) / lesson.network.std.flatten()
    expected = (ordinary[0] - torch.tensor([1.0, 2, 3])) / torch.tensor([4.0, 5, 6])
    torch.testing.assert_close(seen, expected, rtol=1e-4, atol=1e-4)
    assert (std > 1).all()


def test_a_teacher_of_as_many_channels_sees_all_of_them(begin, tmp_path):
    own_file(tmp_path / "four.pth", RESNET | dict(in_channels=CHANNELS))
    state = torch.load(tmp_path / "four.pth")
    mean = [1.0, 2.0, 3.0, 4.0]
    state["meta"]["cfg"] = (
        f"model = dict(type='XMoCo', backbone={RESNET | dict(in_channels=CHANNELS)!r})\n"
        "data_preprocessor = dict(type='ChannelsDataPreprocessor', "
        f"mean={mean}, std={mean}, value_range=[0, 4095])\n"
    )
    torch.save(state, tmp_path / "four.pth")
    out = tmp_path / "run"
    assert begin(out, "--teacher-views", "crop", net=tmp_path / "four.pth") == 0
    said = (out / "opening.txt").read_text()
    assert "(channels 1, 2, 3, 4 of 4)" in said
    assert "the teacher sees each of them" not in said
    assert read_lesson(out / FILE).network.mean.flatten().tolist() == mean
    words = ("--teacher-views", "crop", "--bit-depth", 13)
    assert begin(tmp_path / "other", *words, net=tmp_path / "four.pth") == 0
    said = (tmp_path / "other" / "opening.txt").read_text()
    assert "normalized by its mean and deviation in these images: it was trained on values" in said
    assert "from 0 to 4095, and these are read from 0 to 8191" in said


@pytest.mark.parametrize("channels", ["5,3,1", "2"])
def test_channels_of_shards_are_shown_as_those_of_files(begin, tmp_path, channels, capsys):
    fill(tmp_path / "images", 12, channels=5)
    (tmp_path / "images" / "cut.tif").write_bytes((tmp_path / "images/0.tif").read_bytes()[:900])
    write_shards(tmp_path / "images", str(tmp_path / "set"))
    out = tmp_path / "run"
    assert begin(out, "--teacher-channels", channels, data=tmp_path / "set") == 0
    found = head(out)
    assert (found["done"], found["channels"]) == (13, channels)
    assert "left out of the training: cannot read cut.tif" in capsys.readouterr().err
    assert begin(tmp_path / "other", data=tmp_path / "set") == 2
    assert "these images have 5 channels, and nobody knows which" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("3,2,5",), "there is no channel 5; these images have 4, counted from 1"),
        (("3,2",), "three as red, green and blue, or one as grey, and 2 are named"),
        (("0,1,2",), "channels are counted from 1 to 512, and 0 is none"),
        (("3,2,3",), "3,2,3: a channel is named twice"),
        (("red,green,blue",), "numbers of channels counted from 1, as in 3,2,1"),
        (("3;2;1",), "numbers of channels counted from 1, as in 3,2,1"),
        (("",), "numbers of channels counted from 1, as in 3,2,1"),
        (("3,2,5", "--channels", 4), "from 1 to --channels 4, and 5 is none"),
    ],
)
def test_channels_that_are_none_are_refused_before_the_teacher_is_asked(
    tool, monkeypatch, capsys, scenes, teacher, tmp_path, words, says
):
    base = ("--data", scenes / "images", "--out", tmp_path / "run", "--teacher", teacher)
    said = refused(tool, monkeypatch, capsys, *base, *MODEL, "--teacher-channels", *words)
    assert says in said
    assert not (tmp_path / "run" / FEATURES).exists()


def test_the_option_is_refused_without_a_teacher_or_many_channels(
    tool, monkeypatch, capsys, scenes, teacher, tmp_path
):
    words = ("--out", tmp_path / "run", "--model", "resnet18", "--teacher-channels", "3,2,1")
    said = refused(tool, monkeypatch, capsys, "--data", scenes / "images", *words)
    assert "--teacher-channels: there is no --teacher" in said
    draw(tmp_path / "photos", 9)
    words += ("--data", tmp_path / "photos", "--teacher", teacher)
    said = refused(tool, monkeypatch, capsys, *words)
    assert "--teacher-channels 3,2,1: these images are read as pictures" in said
    fill(tmp_path / "two", 9, channels=2)
    said = refused(tool, monkeypatch, capsys, *words[:4], *words[-2:], "--data", tmp_path / "two")
    assert "a teacher sees three colours or grey: name the one that it sees as grey" in said
