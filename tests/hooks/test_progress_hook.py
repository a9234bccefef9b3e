# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import io
import logging
import re
import sys
from contextlib import nullcontext

import pytest
from mmengine.hooks import Hook
from rich.console import Console

from xmoco_plugin.hooks import ProgressHook

from .. import tiny_runner


def run(tmp_path, console, epochs: int = 5, hooks=(), **options) -> ProgressHook:
    hook = ProgressHook(console=console, **options)
    runner = tiny_runner.build(
        tmp_path, train_cfg=dict(by_epoch=True, max_epochs=epochs), experiment_name="progress"
    )
    for other in (hook, *hooks):
        runner.register_hook(other)
    try:
        runner.train()
    finally:
        hook.close()
    return hook


def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


def terminal() -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        width=110,
        color_system=None,
        _environ={"TERM": "xterm"},  # whatever the tests themselves run on
    )


def test_without_a_terminal_there_is_a_plain_line_at_every_tenth(tmp_path):
    console = plain()
    run(tmp_path, console, epochs=5)
    lines = console.file.getvalue().splitlines()
    assert [int(line.split("%")[0]) for line in lines] == list(range(10, 101, 10))
    assert re.fullmatch(
        r" 50 %  iteration 10/20  \d:\d\d:\d\d left  epoch 3/5  [\d,]+ images/s  loss \d+\.\d{3}",
        lines[4],
    )
    assert "\x1b" not in console.file.getvalue()


def test_a_long_tenth_is_broken_by_a_line_after_some_seconds(tmp_path):
    console = plain()
    run(tmp_path, console, epochs=5, every_seconds=0.0)
    assert len(console.file.getvalue().splitlines()) == 20


def test_a_terminal_without_cursor_movements_gets_the_plain_lines(tmp_path):
    dumb = Console(file=io.StringIO(), force_terminal=True, _environ={"TERM": "dumb"})
    run(tmp_path, dumb)
    assert len(dumb.file.getvalue().splitlines()) == 10


def test_a_resumed_run_counts_on(tmp_path):
    run(tmp_path, plain(), epochs=2)
    console = plain()
    runner = tiny_runner.build(tmp_path, resume=True, train_cfg=dict(by_epoch=True, max_epochs=4))
    runner.register_hook(ProgressHook(console=console))
    runner.train()
    assert console.file.getvalue().startswith(" 62 %  iteration 10/16")


def test_on_a_terminal_a_bar_shows_epoch_rate_and_loss_and_goes_away(tmp_path):
    console = terminal()
    run(tmp_path, console, refresh_seconds=0.0)
    text = console.file.getvalue()
    assert re.search(r"20/20 .*epoch 5/5  [\d,]+ images/s  loss \d+\.\d{3}", text)
    # Wiped: the last thing written is the order to erase the bar's line.
    assert text.rstrip("\n").endswith("\x1b[2K")
    assert "\x1b[?25h" in text  # and the cursor is back


def test_log_lines_stand_whole_above_the_bar(tmp_path, monkeypatch):
    console = terminal()
    # What the log writes to standard output has to end up on the bar's console.
    monkeypatch.setattr(sys, "stdout", console.file)
    hook = run(tmp_path, console, refresh_seconds=0.0)
    # On a terminal, what stands before the order to erase the line is gone.
    shown = [line.split("\x1b[2K")[-1] for line in console.file.getvalue().split("\n")]
    written = [re.sub(r"\x1b\[[^a-zA-Z]*[a-zA-Z]|\r", "", line) for line in shown]
    log = [line for line in written if "Saving checkpoint at" in line]
    assert len(log) == 5
    for line in log:
        assert re.match(
            r"^\d\d/\d\d \d\d:\d\d:\d\d - mmengine - INFO - Saving checkpoint at \d "
            r"epochs\s*$",
            line,
        )
    assert hook._streams == []


@pytest.mark.parametrize("fails", [False, True])
def test_the_log_gets_its_stream_back_also_after_a_failure(tmp_path, monkeypatch, fails):
    class Fail(Hook):
        def after_train_epoch(self, runner):
            if fails:
                raise KeyError

    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    hook = ProgressHook(
        console=Console(
            file=out, force_terminal=True, color_system=None, _environ={"TERM": "xterm"}
        )
    )
    runner = tiny_runner.build(tmp_path)
    handler = next(h for h in runner.logger.handlers if type(h) is logging.StreamHandler)
    handler.setStream(out)
    seen = []

    class Look(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(handler.stream)

    for other in (hook, Look(), Fail()):
        runner.register_hook(other)
    with pytest.raises(KeyError) if fails else nullcontext():
        runner.train()
    hook.close()  # what the end of the process does after a failure
    assert seen[0] is not out
    assert handler.stream is out
    assert sys.stdout is out


def test_the_bar_makes_way_for_a_validation_and_comes_back(tmp_path, monkeypatch):
    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    seen = []

    class Look(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(sys.stdout is out)

        def before_val_iter(self, runner, batch_idx, data_batch=None):
            seen.append("validation" if sys.stdout is out else "hidden")

    runner = tiny_runner.build(tmp_path, validate=True)
    runner.register_hook(
        ProgressHook(console=Console(file=out, force_terminal=True, _environ={"TERM": "xterm"}))
    )
    runner.register_hook(Look())
    runner.train()
    assert seen == ([False] * 4 + ["validation"] * 4) * 2


def test_other_ranks_are_silent(tmp_path, monkeypatch):
    monkeypatch.setattr("xmoco_plugin.hooks.progress_hook.is_main_process", lambda: False)
    console = plain()
    run(tmp_path, console)
    assert console.file.getvalue() == ""
