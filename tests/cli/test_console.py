# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a run shows on the console, and what its log file keeps."""

import logging
import re
import sys
import warnings
from pathlib import Path

import mmengine
import pytest
from mmengine.runner import Runner

from xmoco_plugin.cli import console, runners

from .. import tiny_runner
from ..tool_modules import import_tool, run_tool

HOST = str(Path(mmengine.__file__).parent / "runner" / "checkpoint.py")
WALLS = ("System environment:", "Config:", "Hooks will be executed", '"FileClient"', "Exp name:")
HOOKS = [dict(type="PreflightHook"), dict(type="HealthHook", interval=1), dict(type="ProgressHook")]


def in_file(file: str, code: str) -> None:
    """Runs code as if it stood in a file."""
    exec(compile(code, file, "exec"), {"warnings": warnings, "sys": sys})


@pytest.fixture
def config(tmp_path) -> Path:
    """A training of two epochs, judged by kNN."""
    cfg = tiny_runner.config(tmp_path / "unused", HOOKS, validate=True)
    (tmp_path / "tiny.py").write_text(cfg.pretty_text)
    return tmp_path / "tiny.py"


def log_of(folder: Path) -> str:
    (file,) = folder.glob("*/*.log")
    return file.read_text()


def test_a_training_shows_what_when_and_the_verdicts_and_the_file_has_all(
    config, tmp_path, monkeypatch, capsys
):
    train = import_tool("train")
    assert run_tool(train, monkeypatch, config, "--work-dir", tmp_path / "run") == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    assert printed.err == ""
    assert [line.split()[0] for line in lines[:5]] == [
        *("training", "data", "schedule", "validation", "begins")
    ]
    assert "16 images, 4 classes; batch 4" in lines[1]
    assert sum(line.startswith("health: ") for line in lines) == 2
    assert sum(line.startswith("kNN ") for line in lines) == 2  # a validation an epoch
    assert sum(bool(re.match(r" *\d+ % ", line)) for line in lines) == 8  # one a step here
    assert not [wall for wall in WALLS if wall in printed.out]
    assert len(lines) <= 30
    log = log_of(tmp_path / "run")
    assert not [wall for wall in WALLS if wall not in log]
    assert "Epoch(train)" in log
    assert "preflight: 16 images" in log


def test_verbose_brings_all_of_it_back(config, tmp_path, monkeypatch, capsys):
    train = import_tool("train")
    options = (config, "--work-dir", tmp_path / "run", "--verbose", "--no-validate")
    assert run_tool(train, monkeypatch, *options) == 0
    out = capsys.readouterr().out
    assert not [wall for wall in WALLS if wall not in out]
    assert not any(line.startswith("training  ") for line in out.splitlines())


def test_a_test_shows_each_figure_in_a_line(config, tmp_path, monkeypatch, capsys):
    train = import_tool("train")
    out = tmp_path / "metrics.json"
    # An option for what only the training has, one for what only the validation has.
    options = ("--cfg-options", "train_cfg.max_epochs=1", "val_dataloader.batch_size=2")
    words = (config, "--work-dir", tmp_path / "run", "--test-out", out, *options)
    assert run_tool(train, monkeypatch, *words) == 0
    lines = capsys.readouterr().out.splitlines()
    figure = mmengine.load(out)["accuracy/top1"]
    assert f"accuracy/top1  {figure:.4g}" in lines
    assert f"weights   {tmp_path / 'run' / 'epoch_1.pth'}" in lines
    assert list((tmp_path / "run" / "test").glob("*/*.log"))


def runner(monkeypatch, tmp_path, state) -> Runner:
    monkeypatch.setattr(
        tiny_runner, "QuietRunner", console.runner_class(tiny_runner.QuietRunner, state)
    )
    return tiny_runner.build(tmp_path)


def test_warnings_and_prints_of_libraries_go_to_the_file_and_are_counted(
    monkeypatch, tmp_path, capsys
):
    with console.quiet() as state:
        in_file(HOST, "print('before the log')")
        built = runner(monkeypatch, tmp_path, state)
        in_file(HOST, "print('loading', 'annotations'); warnings.warn('of a host')")
        in_file(HOST, "warnings.warn('another')")
        in_file("/home/me/hook.py", "print('mine'); warnings.warn('look here')")
        in_file(HOST, "print('size mismatch for conv1.weight')")
        built.logger.warning("for you")
    printed, log = capsys.readouterr().out, log_of(tmp_path)
    for text in ("before the log", "loading annotations", "of a host", "another"):
        assert text in log
        assert text not in printed
    for text in ("look here", "for you", "warning: size mismatch for conv1.weight"):
        assert text.removeprefix("warning: ") in log
        assert text in printed
    assert "mine" in printed.splitlines()
    assert printed.splitlines()[-1].startswith("left out here: 2 warnings of the libraries, in ")
    assert sys.stdout is not None
    assert not logging.getLogger("py.warnings").handlers


def refused(code: str) -> None:
    with console.quiet():
        in_file(HOST, code)
        raise ValueError("no config")


def test_warnings_before_there_is_a_log_are_not_lost(capsys):
    with pytest.raises(ValueError, match="no config"):
        refused("warnings.warn('of a host'); warnings.warn('faster_coco_eval is not installed')")
    printed = capsys.readouterr()
    assert "UserWarning: of a host" in printed.err
    assert "faster_coco_eval" not in printed.err
    assert printed.out == ""


def test_a_users_own_script_sees_what_the_host_shows(tmp_path, capsys):
    tiny_runner.build(tmp_path)
    assert "Hooks will be executed" in capsys.readouterr().out


def test_a_run_without_a_progress_hook_gets_one_and_its_config_stays(tmp_path):
    with console.quiet() as state:
        built = runners.build_runner(tiny_runner.config(tmp_path, launcher="none"), state)
    names = [type(hook).__name__ for hook in built.hooks]
    assert names.count("ProgressHook") == names.count("RunLines") == 1
    assert "ProgressHook" not in built.cfg.pretty_text
