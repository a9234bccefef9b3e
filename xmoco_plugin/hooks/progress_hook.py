# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import atexit
import logging
import re
import sys
import time

import numpy as np
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from ..evaluation import KNNValLoop
from .health_hook import VERDICT

STEPS = 10  # that a mean is over, as in the host's log
# Metrics whose 0 means that no object lies under a box, or no pixel has its class.
FOUND, NOTHING = re.compile(r"(^|[/_])(mAP|AP|mIoU)"), "nothing found yet"
WIDE = 110  # columns that a bar with all numbers in one line needs


@HOOKS.register_module()
class ProgressHook(Hook):
    """Shows how far training is: epoch, iteration, time left, images per second, loss.

    Beside it, where they are known: the share of a step that is spent waiting for data, the latest
    verdict of :class:`HealthHook`, the accuracy of the latest validation. After each validation,
    the log says which share of the time since the start, or the last resume, validations took.

    On a terminal a bar stays below the log lines and is gone at the end. Elsewhere (a file, a
    pipe) one plain line is printed at every tenth of the run and, in a long run, after
    ``every_seconds``. Only rank 0 shows anything.

    Args:
        every_seconds: longest pause between two plain lines. Default 30 s (ours).
        refresh_seconds: how often the bar's numbers, and with them the loss, are read from the
            device. Default 1 s (ours).
        console: where to show; default: standard output.
        metric: of the validation, to show; where it has none of that name, its first number.
    """

    priority = "VERY_LOW"

    def __init__(
        self,
        every_seconds: float = 30.0,
        refresh_seconds: float = 1.0,
        console: Console | None = None,
        metric: str = "accuracy/top1",
    ) -> None:
        self.every_seconds, self.refresh_seconds = every_seconds, refresh_seconds
        self.console, self.metric = console, metric
        self._bar: Progress | None = None
        self._images, self._last_time = 0, 0.0
        self._accuracy = ""  # of the latest validation
        self._began: float | None = None  # the training, while it lasts
        self._streams: list[tuple[logging.StreamHandler, object]] = []

    def before_train(self, runner: Runner) -> None:
        if not is_main_process():
            return
        # Late, so that a standard output that was replaced after the import is found.
        console = self.console = self.console or Console()
        self._images, self._last_time = 0, time.monotonic()
        self._began, self._validated, self._first_iter = self._last_time, 0.0, runner.iter
        self._last_tenth = self._tenth(runner.iter, runner.max_iters)
        self._rate: float | None = None
        # A terminal without cursor movements (TERM=dumb) would be shown nothing.
        if console.is_terminal and not console.is_dumb_terminal:
            self._start_bar(runner, console)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        if not is_main_process():
            return
        self._images += _batch(runner)
        done, pause = runner.iter + 1, time.monotonic() - self._last_time
        if self._bar is not None:
            self._bar.update(self._task, completed=done)
            if pause >= self.refresh_seconds:
                self._bar.update(self._task, status=self._status(runner, outputs, pause))
        elif self._tenth(done, runner.max_iters) > self._last_tenth or pause >= self.every_seconds:
            self._last_tenth = self._tenth(done, runner.max_iters)
            status = self._status(runner, outputs, pause)
            left = _clock((runner.max_iters - done) * self._seconds_per_iter(runner))
            print(
                f"{100 * done // runner.max_iters:3d} %  iteration {done}/{runner.max_iters}  "
                f"{left} left  {status}",
                file=self.console.file if self.console else None,
                flush=True,
            )

    def before_val(self, runner: Runner) -> None:
        # A validation may show a bar of its own.
        self._hide()
        self._val_began = time.monotonic()

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        numbers = {
            k: v for k, v in (metrics or {}).items() if isinstance(v, int | float | np.number)
        }
        name = self.metric if self.metric in numbers else next(iter(numbers), None)
        if metrics is not None and name is None:  # mmdet's, of a detector without any box
            self._accuracy = f"no figures: {NOTHING}"
        if name is not None:
            is_knn = isinstance(runner.val_loop, KNNValLoop)
            value, percent = numbers[name], name.startswith("accuracy")
            text = f"{value:.1f} %" if percent else f"{value:.4g}"
            if value == 0 and FOUND.search(name):
                text += f" ({NOTHING})"
            self._accuracy = f"{'kNN' if is_knn else name} {text}"

    def after_val(self, runner: Runner) -> None:
        if self._bar is not None:
            self._show(runner)
        # Images per second are those of training.
        self._last_time, self._images = time.monotonic(), 0
        if self._began is not None:
            self._report_validation(runner, self._last_time)

    def after_train(self, runner: Runner) -> None:
        self._began = None
        self.close()

    def close(self) -> None:
        """Remove the bar and give the log its stream back; may be called twice."""
        self._hide()
        self._bar = None

    def _start_bar(self, runner: Runner, console: Console) -> None:
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(bar_width=None),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[status]}"),
            console=console,
            transient=True,
        )
        self._task = self._bar.add_task(
            "", total=runner.max_iters, completed=runner.iter, status=""
        )
        # A cursor that a killed run has hidden must come back.
        atexit.register(self.close)
        self._show(runner)

    def _show(self, runner: Runner) -> None:
        assert self._bar is not None
        originals = (sys.stdout, sys.stderr, self._bar.console.file)
        self._bar.start()
        # The bar catches what goes through sys.stdout; the log kept the stream from before.
        for handler in runner.logger.handlers:
            if isinstance(handler, logging.StreamHandler) and handler.stream in originals:
                self._streams.append((handler, handler.setStream(sys.stdout)))

    def _hide(self) -> None:
        if self._bar is not None:
            self._bar.stop()
        for handler, stream in self._streams:
            handler.setStream(stream)
        self._streams = []

    def _status(self, runner: Runner, outputs: dict | None, pause: float) -> str:
        """Epoch, images/s and loss; reads the loss from the device and begins a new pause."""
        rate = self._images / max(pause, 1e-9)
        self._rate = rate if self._rate is None else 0.7 * self._rate + 0.3 * rate
        self._last_time, self._images = time.monotonic(), 0
        parts = []
        if isinstance(runner.train_loop, EpochBasedTrainLoop):
            parts.append(f"epoch {runner.epoch + 1}/{runner.max_epochs}")
        parts.append(f"{self._rate:,.0f} images/s")
        if outputs and "loss" in outputs:
            parts.append(f"loss {outputs['loss'].item():.3f}")
        verdict = runner.message_hub.runtime_info.get(VERDICT, {}).get("verdict")
        further = "  ".join(filter(None, [_waiting(runner), verdict, self._accuracy]))
        narrow = self._bar is not None and self._bar.console.width < WIDE
        return ("\n" if narrow else "  ").join(filter(None, ["  ".join(parts), further]))

    def _report_validation(self, runner: Runner, now: float) -> None:
        assert self._began is not None
        self._validated += now - self._val_began
        parts = [self._accuracy]
        if runner.iter > self._first_iter:  # before that, nothing but validation has been done
            share = self._validated / max(now - self._began, 1e-9)
            parts.append(f"validation took {share:.1%} of the time so far".replace("%", " %"))
        if any(parts):
            runner.logger.info("; ".join(filter(None, parts)))

    def _seconds_per_iter(self, runner: Runner) -> float:
        return _batch(runner) / self._rate if self._rate else 0.0

    @staticmethod
    def _tenth(done: int, total: int) -> int:
        return 10 * done // max(total, 1)


def _batch(runner: Runner) -> int:
    """Images of an iteration over all processes; 0 where the loader does not say."""
    loader = runner.train_dataloader
    # mmdet's batches come from a sampler of their own.
    size = loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 0
    return size * get_world_size()


def _waiting(runner: Runner) -> str:
    """The share of the latest steps that went by before their data was there."""
    scalars = runner.message_hub.log_scalars
    if not {"train/data_time", "train/time"} <= scalars.keys():
        return ""
    waited, took = (float(scalars[f"train/{n}"].mean(STEPS)) for n in ("data_time", "time"))
    return f"waits {waited / max(took, 1e-9):.0%}".replace("%", " %")


def _clock(seconds: float) -> str:
    hours, rest = divmod(int(seconds), 3600)
    return f"{hours}:{rest // 60:02d}:{rest % 60:02d}"
