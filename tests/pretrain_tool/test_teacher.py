# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""xmoco pretrain --teacher: what it says before the hours are spent, and a run to its end."""

import json
import re

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from tests.teachers import published
from tests.teachers.files import own_file
from tests.weights.server import serving
from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.cli import pretrain_teacher, teacher_figures
from xmoco_plugin.teachers import TeacherVerdict
from xmoco_plugin.teachers.asking import AskingCost
from xmoco_plugin.teachers.lesson import FEATURES, FILE

from ..format_once import leave_unformatted
from ..tool_modules import import_tool, run_tool
from .command import FAST, STUDENT, refused, run


@pytest.fixture
def begin(tool, monkeypatch, data):
    """Starts the tool, which prepares a run and does not train it; returns the exit status."""
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    monkeypatch.setattr(tool.end, "report", lambda folder: None)
    leave_unformatted(monkeypatch)
    words = ("--data", data / "images", *FAST, *STUDENT)
    return lambda out, *more: run_tool(tool, monkeypatch, "--out", out, *words, *more)


def test_the_documented_command_goes_from_a_folder_to_a_backbone(data, teacher, tmp_path):
    out = tmp_path / "run"
    words = ("--data", data / "images", "--out", out, "--labels", data / "labels", *FAST)
    done = run(*words, *STUDENT, "--teacher", teacher)
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed[-4000:]
    for text in (
        "teacher: net.pth, 64 numbers an image of 32 px (RGB), 17 of them kept; stored once",
        "the teacher's keys of all images",
        "kNN of 10 images",
        "17 dimensions keep 100.0% of the variance; 95 % take",
        "10 labelled images do not tell them apart",
        "TeacherContrast on MobileNetV3",
        "before training, the teacher's",
    ):
        assert text in printed, text
    assert not re.search(r"^momentum ", printed, re.M)
    assert {k.split(".")[0] for k in read_checkpoint(out / "backbone.pth")["state_dict"]} == {
        "backbone"
    }
    assert not any(k.startswith("teacher") for k in read_checkpoint(out / FILE)["state_dict"])
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert any("loss_relation" in line for line in lines)


def test_a_killed_pass_goes_on_and_other_images_are_told(begin, teacher, tmp_path, monkeypatch):
    out = tmp_path / "run"
    ask = pretrain_teacher.asker
    monkeypatch.setattr(
        pretrain_teacher, "asker", lambda *a: lambda batches: _dies(ask(*a)(batches))
    )
    with pytest.raises(KeyboardInterrupt):
        raise KeyboardInterrupt(begin(out, "--teacher", teacher))
    assert (out / FEATURES).exists()
    assert not (out / "config.py").exists()
    monkeypatch.setattr(pretrain_teacher, "asker", ask)
    assert begin(out, "--teacher", teacher) == 0
    hook = Config.fromfile(str(out / "config.py")).custom_hooks[-1]
    assert hook == dict(type="TeacherHook", knn=None)


def _dies(answers):
    raise KeyboardInterrupt
    yield from answers


def test_a_teacher_that_is_asked_for_each_crop_is_kept_in_the_run(begin, teacher, tmp_path):
    out = tmp_path / "run"
    assert begin(out, "--teacher", teacher, "--teacher-views", "crop", "--init", teacher) == 2
    assert begin(out, "--teacher", teacher, "--teacher-views", "crop") == 0
    assert not (out / FEATURES).exists()
    assert any(k.startswith("backbone.") for k in read_checkpoint(out / FILE)["state_dict"])
    cfg = Config.fromfile(str(out / "config.py"))
    assert cfg.model.own_crop
    assert cfg.custom_hooks[-1].features is None
    assert re.search(r"student's crops, \d+\.\d ms each", (out / "opening.txt").read_text())


def test_the_memory_of_a_teacher_that_is_asked_in_each_step_limits_the_batch(
    tool, begin, teacher, tmp_path, monkeypatch, capsys
):
    asked = lambda *_: AskingCost(seconds=0.0, memory=10**15)  # noqa: E731
    monkeypatch.setattr(tool.teacher, "asking_cost", asked)
    crop = ("--teacher", teacher, "--teacher-views", "crop")
    assert begin(tmp_path / "crop", *crop) == 2
    assert "a batch of 4 images does not fit" in capsys.readouterr().err
    assert begin(tmp_path / "stored", "--teacher", teacher) == 0


def test_a_teacher_beside_moco_keeps_the_key_encoder_and_its_options(begin, teacher, tmp_path):
    out = tmp_path / "run"
    beside = ("--teacher-beside-moco", 0.5, "--momentum", 0.02, "--queue-len", 8)
    assert begin(out, "--teacher", teacher, *beside) == 0
    cfg = Config.fromfile(str(out / "config.py"))
    assert (cfg.model.type, cfg.model.head.nce_weight) == ("TaughtXMoCo", 0.5)
    assert (cfg.model.momentum, cfg.model.queue_len) == (0.02, 8)
    assert cfg.train_dataloader.dataset.pipeline[1].type == "TwoViews"
    assert cfg.custom_hooks[-1].type == "TeacherHook"


def test_a_student_begins_with_weights_of_its_own_beside_a_teacher(begin, data, teacher, tmp_path):
    own_file(tmp_path / "student.pth", dict(type="MobileNetV3", arch="small_050"))
    words = ("--teacher", teacher, "--init", tmp_path / "student.pth", "--labels", data / "labels")
    assert begin(tmp_path / "run", *words, "--yes") == 0
    cfg = Config.fromfile(str(tmp_path / "run" / "config.py"))
    assert cfg.train_dataloader.dataset.pipeline[1].views["size"] == 32
    assert cfg.custom_hooks[-1].type == "TeacherHook"
    assert next(h for h in cfg.custom_hooks if h.type == "BestExportHook").pretrained
    assert "key_view" not in (tmp_path / "run" / "opening.txt").read_text()


def test_a_teacher_sees_16_bit_grey_as_the_training_reads_it(tmp_path):
    Image.fromarray(np.full((8, 8), 4095, np.uint16)).save(tmp_path / "a.png")
    own.write_list(own.Scan(good=[str(tmp_path / "a.png")]), tmp_path)
    reader = dict(type="LoadImageOrSkip", bit_depth=12)
    cfg = Config(dict(train_dataloader=dict(dataset=dict(pipeline=[reader]))))
    assert int(teacher_figures.listed(tmp_path, 8, cfg)[0]["inputs"].min()) == 255


@pytest.mark.host_free
def test_a_teacher_that_knows_nothing_is_said_before_anything_is_trained(begin, tmp_path, capsys):
    own_file(tmp_path / "blind.pth", **{"backbone.conv1.weight": torch.zeros(8, 3, 7, 7)})
    assert begin(tmp_path / "run", "--teacher", tmp_path / "blind.pth") == 2
    assert "features of 18 images are all alike" in capsys.readouterr().err
    assert not (tmp_path / "run" / "config.py").exists()


@pytest.mark.host_free
def test_a_teacher_no_better_than_raw_pixels_is_trained_with_only_where_that_is_agreed_to(
    begin, teacher, tmp_path, capsys, monkeypatch
):
    verdict = TeacherVerdict(False, "its kNN is 12.0 %, that of raw pixels 12.5 %")
    monkeypatch.setattr("xmoco_plugin.teachers.judge_teacher", lambda *_: verdict)
    monkeypatch.setattr("sys.stdin", None)
    assert begin(tmp_path / "run", "--teacher", teacher) == 2
    said = capsys.readouterr().err
    assert "the teacher knows nothing of these images: its kNN is 12.0 %" in said
    assert "(--init)" in said
    assert not (tmp_path / "run" / "config.py").exists()
    assert begin(tmp_path / "run", "--teacher", teacher, "--yes") == 0


@pytest.mark.host_free
def test_stored_features_of_another_teacher_are_refused_and_named(begin, teacher, tmp_path, capsys):
    out = tmp_path / "run"
    assert begin(out, "--teacher", teacher) == 0
    (out / "config.py").unlink()  # as a run that was stopped before it was set up
    own_file(tmp_path / "other.pth", scale=1.5)
    assert begin(out, "--teacher", tmp_path / "other.pth") == 2
    said = capsys.readouterr().err
    assert "holds the features of another teacher: net.pth, not other.pth" in said


@pytest.mark.host_free
def test_options_that_do_not_go_together_are_named_at_once(
    tool, monkeypatch, capsys, data, teacher, tmp_path
):
    base = ("--data", data / "images", "--out", tmp_path / "run", "--model", "resnet18")
    said = refused(
        tool, monkeypatch, capsys, *base, "--teacher-size", 32, "--teacher-views", "crop"
    )
    assert "--teacher-size: there is no --teacher" in said
    assert "--teacher-views: there is no --teacher" in said
    for words, text in (
        (("--teacher", "no/such.pth"), "There is no file no/such.pth"),
        (("--teacher", "resnet50_8xb32"), "Nearest: resnet50_8xb32_in1k"),
        (("--teacher", teacher, "--momentum", 0.1), "--momentum: with a --teacher"),
        (("--teacher", teacher, "--key-view", "weak"), "--key-view: with a --teacher"),
        (("--teacher", teacher, "--temperature", 0.1), "--temperature: with a --teacher"),
        (("--teacher", teacher, "--teacher-model", "nonesuch"), "neither mmpretrain nor timm"),
        (("--teacher", teacher, "--teacher-model", "ResNet:50"), "hold the weights of a ResNet 50"),
        (("--teacher-beside-moco", 1), "--teacher-beside-moco: there is no --teacher"),
        (("--teacher", teacher, "--teacher-beside-moco", 0), "beside the teacher; a number from"),
        (("--teacher", teacher, "--queue-len", 19), "of all 18 images at most"),
    ):
        assert text in refused(tool, monkeypatch, capsys, *base, *words)


@pytest.mark.host_free
def test_a_name_is_fetched_only_after_its_licence_was_agreed_to(
    begin, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    fetched = []

    def no_network(url, place, alone, token):
        fetched.append(url)
        raise pretrain_teacher.CheckpointError("it could not be fetched: no route.")

    monkeypatch.setattr("xmoco_plugin.teachers.zoo.fetch", no_network)
    monkeypatch.setattr("sys.stdin", None)
    assert begin(tmp_path / "run", "--teacher", "resnet50_8xb32_in1k") == 2
    said = capsys.readouterr()
    assert "about 102 MB from https://" in said.out
    assert "Licence of the weights: Apache-2.0" in said.out
    assert "With --yes the command goes on" in said.err
    assert fetched == []
    assert begin(tmp_path / "run", "--teacher", "resnet50_8xb32_in1k", "--yes") == 2
    said = capsys.readouterr().err
    assert len(fetched) == 1
    assert re.search(r"Fetch https://\S+ where there is a network and put it to \S+\.pth", said)


def test_a_file_of_dinov2_needs_no_name_and_what_is_left_out_of_it_is_said(begin, tmp_path, capsys):
    path = tmp_path / "dinov2_vits14_pretrain.pth"
    torch.save(published.in_fair_dinov2(published.weights(grid=37, depth=1)), path)
    assert begin(tmp_path / "run", "--teacher", path, "--teacher-size", 28) == 0
    said = capsys.readouterr().out
    assert "dinov2_vits14_pretrain.pth is, by its layers, a VisionTransformer of 1 blocks" in said
    assert "1 tensor is of none of the network's layers and left out: mask_token" in said
    assert "384 numbers an image of 28 px (RGB)" in said
    again = ("--teacher", path, "--teacher-model", "vit_base_patch14_dinov2.lvd142m")
    assert begin(tmp_path / "other", *again) == 2
    said = capsys.readouterr().err
    assert "of 1 blocks of 384 channels, patches of 14 px, and that network has 12 blocks" in said


@pytest.mark.host_free
def test_a_name_behind_a_licence_says_the_ways_and_the_file_that_is_put_there_is_found(
    begin, tmp_path, monkeypatch, capsys
):
    timm = pytest.importorskip("timm")
    save_file = pytest.importorskip("safetensors.torch").save_file
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "cache"))
    with serving({}) as (address, asked):
        monkeypatch.setenv("HF_ENDPOINT", address)
        path = "/timm/resnet10t.c3_in1k/resolve/main/model.safetensors"
        words = ("--teacher", "resnet10t.c3_in1k", "--yes")
        with serving({path: (401, {}, b"")}) as (gated, _):
            monkeypatch.setenv("HF_ENDPOINT", gated)
            assert begin(tmp_path / "run", *words) == 2
        said = capsys.readouterr().err
        assert (
            f"open {gated}/timm/resnet10t.c3_in1k with an account there, and set HF_TOKEN" in said
        )
        place = re.search(r"put it to (\S+\.safetensors), or name it: --teacher FILE", said)[1]
        save_file(timm.create_model("resnet10t").state_dict(), place)
        monkeypatch.setenv("HF_ENDPOINT", address)
        assert begin(tmp_path / "run", *words) == 0
        assert asked == []
    assert "2 tensors are of none of the network's layers and left out: fc.bias, fc.weight" in (
        capsys.readouterr().out
    )


def test_the_tool_is_the_one_of_the_command_line():
    assert import_tool("pretrain").teacher is pretrain_teacher
