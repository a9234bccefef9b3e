# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import io
import logging
import re
import sys
import time
from contextlib import nullcontext

import pytest
from mmengine.hooks import Hook
from rich.console import Console

from xmoco_plugin.hooks import ProgressHook

from .. import tiny_runner


def run(tmp_path, console, epochs: int = 5, hooks=(), **options) -> ProgressHook:
    hook = ProgressHook(console=console, **options)
    runner = tiny_runner.build(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=epochs))
    for other in (hook, *hooks):
        runner.register_hook(other)
    try:
        runner.train()
    finally:
        hook.close()
    return hook


def plain() -> Console:
    return Console(file=io.StringIO(), force_terminal=False)


def terminal(width: int = 110) -> Console:
    return Console(
        file=io.StringIO(),
        force_terminal=True,
        width=width,
        color_system=None,
        _environ={"TERM": "xterm"},  # whatever the tests themselves run on
    )


def test_without_a_terminal_there_is_a_plain_line_at_every_tenth(tmp_path):
    console = plain()
    run(tmp_path, console, epochs=5)
    lines = console.file.getvalue().splitlines()
    assert [int(line.split("%")[0]) for line in lines] == list(range(10, 101, 10))
    assert re.fullmatch(
        r" 50 %  iteration 10/20  \d:\d\d:\d\d left  epoch 3/5  [\d,]+ images/s  loss \d+\.\d{3}"
        r"  waits \d+ %",
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


def test_a_narrow_terminal_shows_all_numbers_too(tmp_path):
    console = terminal(width=80)
    run(tmp_path, console, refresh_seconds=0.0)
    text = console.file.getvalue()
    for part in (
        r"20/20 0:00:00 ",
        r"epoch 5/5  [\d,]+ images/s  loss \d+\.\d{3}",
        r"waits \d+ %",
    ):
        assert re.search(part, text)


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


class SlowLoading(Hook):
    """Adds 0.3 s, far more than the rest takes, to the wait for a batch or to the step itself."""

    priority = "VERY_HIGH"

    def __init__(self, loading: bool) -> None:
        self.loading = loading

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if self.loading:
            time.sleep(0.3)

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if not self.loading:
            time.sleep(0.3)


@pytest.mark.parametrize("loading", [True, False])
def test_waiting_for_data_is_told_from_computing(tmp_path, loading):
    console = plain()
    run(tmp_path, console, epochs=2, hooks=[SlowLoading(loading)])
    share = int(re.search(r"waits (\d+) %", console.file.getvalue().splitlines()[-1])[1])
    assert share > 60 if loading else share < 40


def test_the_latest_verdict_and_the_latest_knn_stand_in_the_line_also_after_a_resume(tmp_path):
    def train(epochs, **options):
        console = plain()
        loop = dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=1)
        hooks = [dict(type="HealthHook", interval=2)]
        runner = tiny_runner.build(tmp_path, hooks, validate=True, train_cfg=loop, **options)
        runner.register_hook(ProgressHook(console=console, every_seconds=0.0))
        runner.train()
        return console.file.getvalue().splitlines()

    lines = train(3)
    assert not re.search("too early|kNN", "".join(lines[:4]))
    assert all(re.search(r"  too early  kNN \d+\.\d %$", line) for line in lines[4:])
    # The checkpoint was written before the verdict on its epoch, the record was not.
    assert "  too early" in train(4, resume=True, load_from=f"{tmp_path}/epoch_1.pth")[0]


def test_a_validation_says_in_the_log_what_it_found_and_its_share_of_the_time(tmp_path):
    class SlowValidation(Hook):
        def before_val_iter(self, runner, batch_idx, data_batch=None):
            time.sleep(0.05)

    runner = tiny_runner.build(
        tmp_path, hooks=[dict(type="RunSummaryHook", picture=False)], validate=True
    )
    runner.register_hook(ProgressHook(console=plain()))
    runner.register_hook(SlowValidation())
    said = []
    runner.logger.info = lambda line, **_: said.append(line)
    runner.train()
    lines = [line for line in said if re.match(r"kNN \d", str(line))]
    # Before the first iteration, nothing but the validation has been done.
    assert re.fullmatch(r"kNN \d+\.\d %", lines[0])
    shares = [
        float(re.fullmatch(r"kNN .* %; validation took (.*) % of the time so far", line)[1])
        for line in lines[1:]
    ]
    assert len(shares) == 2
    assert all(10 < share < 100 for share in shares)


def test_a_validation_without_training_is_left_alone(tmp_path):
    runner = tiny_runner.build(tmp_path, validate=True)
    runner.register_hook(ProgressHook(console=plain()))
    runner.val()


@pytest.mark.parametrize(
    ("metrics", "said"),
    [
        ({"coco/bbox_mAP": 0.0, "coco/bbox_mAP_50": 0.1}, "coco/bbox_mAP 0 (nothing found yet)"),
        ({"coco/bbox_mAP": 0.02}, "coco/bbox_mAP 0.02"),
        ({"pascal_voc/mAP": 0.0}, "pascal_voc/mAP 0 (nothing found yet)"),
        ({"mIoU": 0.0}, "mIoU 0 (nothing found yet)"),
        ({"loss": 0.0}, "loss 0"),
        ({}, "no figures: nothing found yet"),  # what mmdet gives of a detector without any box
    ],
)
def test_a_validation_that_found_nothing_is_called_so(tmp_path, metrics, said):
    runner = tiny_runner.build(tmp_path)
    lines = []
    runner.logger.info = lambda line, **_: lines.append(str(line))
    hook = ProgressHook(console=plain())
    hook.before_train(runner)
    hook.before_val(runner)
    hook.after_val_epoch(runner, metrics)
    hook.after_val(runner)
    assert lines[-1] == said
