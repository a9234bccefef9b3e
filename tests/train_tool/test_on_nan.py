# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""train.py where a loss becomes NaN: the step kept, run again, and one more try."""

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.cli import train
from xmoco_plugin.hooks import NonFiniteLossError
from xmoco_plugin.hooks.bad_batch import Batch, not_finite

from .command import run_train


@HOOKS.register_module(force=True)
class SpoilAtStep(Hook):
    """Makes the weights infinite before a step, so many times in a process."""

    priority = "VERY_HIGH"
    left = 0

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.iter + 1 == 8 and SpoilAtStep.left:
            SpoilAtStep.left -= 1
            runner.model.backbone.conv1.weight.data.fill_(float("inf"))


@pytest.fixture
def spoilt(config):
    config.write_text(config.read_text() + "custom_hooks = [dict(type='SpoilAtStep')]\n")
    return config


def rates(work) -> list[float]:
    """Of the checkpoints' optimizers."""
    files = sorted(work.glob("epoch_*.pth"))
    return [read_checkpoint(f)["optimizer"]["param_groups"][0]["lr"] for f in files]


def test_a_step_that_went_wrong_is_kept_and_run_again(
    tools, monkeypatch, capsys, spoilt, images, tmp_path
):
    SpoilAtStep.left = 1
    work = tmp_path / "work"
    words = (tools, monkeypatch, capsys, spoilt, "--data-root", images)
    status, said = run_train(*words, "--work-dir", work)
    assert status == 2
    file = work / "nonfinite_8.npz"
    assert f"The 4 images of that step are kept in {file}" in said
    assert f"--replay {file} runs it again" in said
    assert sorted(work.glob("*.pth")) == [work / "epoch_1.pth"]
    assert file.stat().st_size < 50_000
    before = {p: p.stat().st_mtime_ns for p in work.glob("*.*")}

    assert run_train(*words, "--replay", file)[0] == 0
    assert {p: p.stat().st_mtime_ns for p in work.glob("*.*")} == before


def test_a_replay_shows_the_layer_and_that_good_weights_are_fine(
    tools, monkeypatch, capsys, spoilt, images, tmp_path
):
    SpoilAtStep.left = 1
    work = tmp_path / "work"
    words = [spoilt, "--data-root", images]
    assert run_train(tools, monkeypatch, capsys, *words, "--work-dir", work)[0] == 2
    good = read_checkpoint(work / "epoch_1.pth")
    good["state_dict"]["backbone.conv1.weight"].fill_(3e38)
    torch.save(good, tmp_path / "overflows.pth")
    shown = []
    monkeypatch.setattr("builtins.print", lambda *line, **_: shown.append(" ".join(map(str, line))))
    replay = ["--replay", work / "nonfinite_8.npz"]
    assert run_train(tools, monkeypatch, capsys, *words, *replay)[0] == 0
    assert any("4 images, their views as they were" in line for line in shown)
    assert any(str(work / "epoch_1.pth") in line for line in shown)
    assert shown[-1].startswith("all is finite with these weights")
    shown.clear()
    other = ["--resume", tmp_path / "overflows.pth"]
    assert run_train(tools, monkeypatch, capsys, *words, *replay, *other)[0] == 0
    assert any("not finite: backbone.conv1 (Conv2d)" in line for line in shown)


def test_a_retry_goes_back_to_the_last_good_checkpoint_with_a_tenth_of_the_rate(
    tools, monkeypatch, capsys, spoilt, images, tmp_path
):
    SpoilAtStep.left = 1
    work = tmp_path / "work"
    status, said = run_train(
        *(tools, monkeypatch, capsys, spoilt, "--data-root", images),
        *("--work-dir", work, "--on-nan", "retry"),
    )
    assert status == 0, said
    assert f"--on-nan retry: going on from {work / 'epoch_1.pth'} with 0.1 times" in said
    first, second = rates(work)
    # The schedule divides it by ten at the first epoch; this once it is ten times lower still.
    assert (first, second) == (pytest.approx(2e-3), pytest.approx(2e-4))


class Recorded(Exception):
    """Stops before anything is trained."""


@pytest.mark.parametrize("resume", ["auto", "of_another_run.pth"])
def test_begun_anew_it_begins_with_the_configs_weights_not_with_the_file_of_resume(
    tools, monkeypatch, capsys, config, images, tmp_path, resume
):
    config.write_text(config.read_text() + "load_from = 'own.pth'\n")
    seen = []

    def build(cfg, *_, **__):
        seen.append((cfg.load_from, cfg.resume))
        return Runner

    class Runner:
        _load_from = None

        @staticmethod
        def register_hook(hook) -> None:
            raise Recorded

    def fails(runner) -> None:
        raise NonFiniteLossError("NaN")

    monkeypatch.setattr(train.runners, "build_runner", build)
    monkeypatch.setattr(train, "run", fails)
    monkeypatch.setattr(train, "check_named_weights", lambda *_: None)  # they are not there
    words = ["--resume"] + ([resume] if resume != "auto" else [])
    words += ["--on-nan", "retry", "--data-root", images, "--work-dir", tmp_path / "work"]
    with pytest.raises(Recorded):
        run_train(tools, monkeypatch, capsys, config, *words)
    first = ("own.pth", False) if resume == "auto" else (resume, True)
    assert seen == [first, ("own.pth", False)]


def test_the_second_time_it_stops(tools, monkeypatch, capsys, spoilt, images, tmp_path):
    SpoilAtStep.left = 2
    status, said = run_train(
        *(tools, monkeypatch, capsys, spoilt, "--data-root", images),
        *("--work-dir", tmp_path / "work", "--on-nan", "retry"),
    )
    assert status == 2
    assert said.count("--on-nan retry: ") == 1
    assert said.count("error: ") == 1


def test_images_that_are_not_finite_themselves_are_named():
    inputs = torch.zeros(3, 3, 2, 2)
    inputs[1, 0, 0, 0] = np.nan
    batch = Batch(1, ["a.png", "b.tif", "c.png"], [0, 1, 2], [torch.zeros(3, 3, 2, 2), inputs])
    assert not_finite(batch) == ["b.tif"]
