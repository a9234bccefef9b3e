# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which records of a run's log reach the console."""

import logging
from importlib.util import find_spec
from pathlib import Path

import mmengine
import pytest
import torch

import xmoco_plugin
from xmoco_plugin.cli import shown
from xmoco_plugin.cli.exits import PARENT
from xmoco_plugin.log_detail import DETAIL

OURS = str(Path(xmoco_plugin.__file__).parent / "hooks" / "health_hook.py")
HOST = str(Path(mmengine.__file__).parent / "hooks" / "checkpoint_hook.py")
TORCH = str(Path(torch.__file__).parent / "utils" / "data" / "dataloader.py")
USER = "/home/somebody/my_hooks.py"
INFO, WARNING, ERROR = logging.INFO, logging.WARNING, logging.ERROR


def record(file: str, level: int, text: str, name: str = "mmengine", **extra) -> logging.LogRecord:
    made = logging.LogRecord(name, level, file, 1, text, None, None)
    vars(made).update(extra)
    return made


@pytest.mark.parametrize(
    ("file", "level", "text", "reaches"),
    [
        (OURS, INFO, "health: learning", True),
        (USER, INFO, "a line of the user's own hook", True),
        (HOST, INFO, "Config:\n...", False),
        (HOST, INFO, "Exp name: demo_2026", False),
        (OURS, WARNING, "preflight: the queue is long", True),
        (HOST, WARNING, "a warning that no table lists", True),
        (HOST, WARNING, '"FileClient" will be deprecated in future.', False),
        (USER, WARNING, '"FileClient" will be deprecated in future.', True),
        (HOST, ERROR, '"FileClient" will be deprecated in future.', True),
        (HOST, WARNING, "bbox_head.cls is duplicate. It is skipped since bypass_dup...", False),
    ],
)
def test_a_log_record_reaches_the_console_by_who_wrote_it_and_how_grave_it_is(
    file, level, text, reaches
):
    assert shown.is_shown(record(file, level, text)) is reaches


def test_that_a_test_found_nothing_is_left_to_the_command_which_reports_of_it(monkeypatch):
    told = "The testing results of the whole dataset is empty."
    monkeypatch.delenv(PARENT, raising=False)
    assert shown.is_shown(record(HOST, ERROR, told))  # xmoco test: nobody else says it
    monkeypatch.setenv(PARENT, "transfer.py")
    assert not shown.is_shown(record(HOST, ERROR, told))
    assert shown.is_shown(record(USER, ERROR, told))


def test_a_detail_of_ours_stays_in_the_file_and_an_error_never_does():
    assert not shown.is_shown(record(OURS, INFO, "kNN: bank of 3 x 4", **DETAIL))
    assert shown.is_shown(record(OURS, ERROR, "broken", **DETAIL))


@pytest.mark.parametrize(
    ("file", "text", "reaches"),
    [
        (USER, "UserWarning: of the user's transform", True),
        (TORCH, "UserWarning: The given NumPy array is not writable", False),
        (TORCH, "UserWarning: This DataLoader will create 16 worker processes in total", True),
        (TORCH, "UserWarning: CUDA initialization: The NVIDIA driver is too old", True),
        (TORCH, "FutureWarning: `torch.cuda.amp.GradScaler` is deprecated", False),
        (HOST, "DeprecationWarning: Permission of old days", False),
        ("<frozen importlib._bootstrap>", "DeprecationWarning: builtin type", False),
    ],
)
def test_of_pythons_warnings_the_users_own_and_those_about_the_machine_reach_it(
    file, text, reaches
):
    made = record(file, WARNING, f"{file}:1: {text}", name="py.warnings")
    assert shown.is_shown(made) is reaches


def test_a_host_in_a_checkout_of_its_own_is_a_host(monkeypatch, tmp_path):
    monkeypatch.setattr(mmengine, "__file__", str(tmp_path / "mmengine" / "__init__.py"))
    assert shown.is_library(str(tmp_path / "mmengine" / "runner.py"))
    assert not shown.is_library(str(tmp_path / "mmengine_extras" / "runner.py"))


def test_the_bar_of_a_host_is_shown_and_what_it_prints_is_not():
    folder = Path(mmengine.__file__).parent
    assert shown.is_printed_by_host(str(folder / "runner" / "checkpoint.py"))
    assert not shown.is_printed_by_host(str(folder / "utils" / shown.BAR))
    assert (folder / "utils" / shown.BAR).is_file()
    assert not shown.is_printed_by_host(USER)


def test_every_dismissed_warning_is_one_that_an_installed_host_gives():
    sources = ""
    for name in shown.HOSTS:
        spec = find_spec(name)
        for folder in spec.submodule_search_locations if spec else ():
            sources += "".join(f.read_text(errors="replace") for f in Path(folder).rglob("*.py"))
    plain = sources.replace("\\'", "'").replace('" "', "").replace("' '", "")
    of_mmdet = ("faster_coco", *shown.DISMISSED_ERRORS)
    for text in (*shown.DISMISSED, *shown.DISMISSED_ANYWHERE, *shown.DISMISSED_ERRORS):
        if not any(part in text for part in of_mmdet) or find_spec("mmdet"):
            assert text in plain, text
