# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A real run against a frozen teacher: by a config alone, resumed, with what does not belong."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from mmengine.config import Config

from tests import models, tiny_runner
from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.export import prepare_file, read_weights
from xmoco_plugin.hooks import health_hook, teacher_hook
from xmoco_plugin.hooks.teacher_hook import _check_dims, way_gone
from xmoco_plugin.teachers import TeacherError
from xmoco_plugin.teachers.lesson import FEATURES, FILE

DIMS = 6


@pytest.fixture(scope="module")
def teacher(tmp_path_factory):
    """A checkpoint of ours to learn from; it has no BatchNorm."""
    path = tmp_path_factory.mktemp("teacher") / "net.pth"
    models.save_checkpoint(path)
    return path


def run(folder, teacher, own_crop=False, epochs=2, **hook) -> tiny_runner.QuietRunner:
    """A runner of a tiny student on 16 images in batches of 4."""
    settings = dict(type="TeacherHook", teacher=str(teacher), teacher_size=8, **hook)
    if own_crop:
        settings["features"] = None
    loader = tiny_runner.loader()
    # Whole images: a resumed run draws other views than one that was not stopped.
    plain = [dict(type="RandomFlip", prob=0.0)]
    loader["dataset"]["pipeline"][0]["transforms"] = [plain]
    loader["dataset"]["pipeline"][-1] = dict(type="PackInputs", meta_keys=("sample_idx",))
    model = dict(
        type="TeacherContrast",
        backbone=dict(type="TinyEncoder", norm=True),
        neck=dict(type="MoCoV2Neck", in_channels=16, hid_channels=12, out_channels=DIMS),
        head=dict(
            type="TeacherHead",
            consistency=dict(),
            dense=dict(match="relation") if own_crop else None,
        ),
        feat_dim=DIMS,
        num_keys=8,
        own_crop=own_crop,
        data_preprocessor=dict(
            type="SelfSupDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3, to_rgb=True
        ),
    )
    cfg = tiny_runner.config(
        folder, [settings, dict(type="HealthHook")], model=model, train_dataloader=loader
    )
    cfg.train_cfg.max_epochs = epochs
    return tiny_runner.QuietRunner.from_cfg(cfg)


def test_a_config_alone_makes_the_files_once_and_trains_the_student_alone(
    tmp_path, teacher, monkeypatch
):
    asked, judge = [], health_hook.judge
    note = lambda *args, taught, **kwargs: asked.append(taught) or judge(*args, **kwargs)  # noqa: E731
    monkeypatch.setattr(health_hook, "judge", note)
    first = run(tmp_path, teacher)
    first.train()
    stamp = (tmp_path / FEATURES).stat().st_mtime_ns
    state = read_checkpoint(tmp_path / "epoch_2.pth")["state_dict"]
    assert {k.split(".")[0] for k in state} == {"backbone", "neck", "seen"}
    last = tmp_path / "epoch_2.pth"
    exported = prepare_file(read_weights(last), last, "mmpretrain")
    assert {k.split(".")[0] for k in exported.weights} == {"backbone"}
    assert asked == [True, True]  # no term of the loss is InfoNCE
    again = run(tmp_path, teacher)
    again.train()
    assert (tmp_path / FEATURES).stat().st_mtime_ns == stamp
    other = read_checkpoint(tmp_path / "epoch_2.pth")["state_dict"]
    assert all(torch.equal(state[k], other[k]) for k in state)


@pytest.mark.parametrize("own_crop", [False, True])
def test_a_resumed_run_ends_with_the_weights_of_one_that_was_not_stopped(
    tmp_path, teacher, own_crop
):
    run(tmp_path / "whole", teacher, own_crop).train()
    stopped = run(tmp_path / "parts", teacher, own_crop)
    stopped.train_loop._max_epochs = 1
    stopped.train()
    resumed = run(tmp_path / "parts", teacher, own_crop)
    resumed._resume, resumed._load_from = True, str(tmp_path / "parts" / "epoch_1.pth")
    resumed.train()
    whole, parts = (
        read_checkpoint(tmp_path / name / "epoch_2.pth")["state_dict"]
        for name in ("whole", "parts")
    )
    assert whole.keys() == parts.keys()
    assert all(torch.equal(whole[k], parts[k]) for k in whole)
    assert (tmp_path / "whole" / FEATURES).exists() is not own_crop


def test_files_of_another_teacher_or_set_stop_the_run(tmp_path, teacher):
    run(tmp_path, teacher, epochs=1).train()
    runner = run(tmp_path, teacher)
    next(h for h in runner.hooks if type(h).__name__ == "TeacherHook").teacher_size = 12
    with pytest.raises(TeacherError, match=r"net.pth at 8 px and 16 images; this run has .* 12 px"):
        runner.train()
    (tmp_path / FEATURES).rename(tmp_path / "away")
    with pytest.raises(TeacherError, match=r"teacher_features.bin is not there.*Put it back"):
        run(tmp_path, teacher).train()
    (tmp_path / FILE).unlink()
    torch.save({"state_dict": {"a.weight": torch.randn(2, 2)}}, tmp_path / FILE)
    with pytest.raises(TeacherError, match="does not say what a teacher's features are"):
        run(tmp_path, teacher).train()


def test_a_moved_teacher_is_the_same_and_stored_features_are_no_teacher_to_ask(tmp_path, teacher):
    out, moved = tmp_path / "run", tmp_path / "moved.pth"
    run(out, teacher, epochs=1).train()
    shutil.copy(teacher, moved)
    run(out, moved, epochs=1).train()
    with pytest.raises(TeacherError, match=r"teacher.pth is of a run with stored features.*remove"):
        run(out, teacher, own_crop=True, epochs=1).train()


def test_who_waits_long_for_the_first_process_says_what_for(tmp_path, monkeypatch, capsys):
    file = tmp_path / FILE
    looks = iter([None, None, file.touch])
    monkeypatch.setattr(teacher_hook.time, "sleep", lambda _: (next(looks) or int)())
    monkeypatch.setattr(teacher_hook, "PATIENCE", 2)
    teacher_hook._wait_for(file)
    said = capsys.readouterr().err
    assert said.count(f"waiting for {file}, which the first process makes") == 1


def test_keys_of_other_numbers_are_named_with_the_settings_to_change():
    both = SimpleNamespace(teacher_dims=9, teacher_neck=None)
    with pytest.raises(ValueError, match=r"keys of 6 numbers.*teacher_neck.out_channels to 6"):
        _check_dims(6, both, FILE)
    with pytest.raises(ValueError, match=r"has feat_dim=9: set feat_dim and neck.out_channels to"):
        _check_dims(6, SimpleNamespace(teacher_dims=9), FILE)


def test_a_config_of_another_run_in_a_new_folder_says_which_files_it_lacks(tmp_path, teacher):
    runner = run(tmp_path, teacher)
    next(h for h in runner.hooks if type(h).__name__ == "TeacherHook").teacher = None
    with pytest.raises(TeacherError, match=r"teacher.pth is not there.* Copy it .*_features.bin"):
        runner.train()


def test_a_model_without_a_teacher_is_refused(tmp_path, teacher):
    cfg = Config(tiny_runner.config(tmp_path, [dict(type="TeacherHook")]).to_dict())
    with pytest.raises(
        TypeError,
        match=r"TeacherHook needs model.type='TeacherContrast' or 'TaughtXMoCo'; got XMoCo",
    ):
        tiny_runner.QuietRunner.from_cfg(cfg).train()


def test_files_of_other_names_are_read_and_not_made():
    teacher_hook.TeacherHook(file="other.pth", features="other.bin")
    with pytest.raises(ValueError, match=r"name others: other.pth, None. Leave out"):
        teacher_hook.TeacherHook(teacher="net.pth", file="other.pth", features=None)


def test_the_way_from_the_start_to_the_teacher_is_a_share():
    assert "40% of the way" in way_gone(30.0, 10.0, 60.0)
    assert way_gone(9.0, 10.0, 60.0).endswith("60.0 %: none of the way")
    assert "not ahead of the start" in way_gone(30.0, 60.0, 60.5)
