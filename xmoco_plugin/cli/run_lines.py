# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The lines of a run on the console: what is trained on what, how far a validation is, figures."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmengine.dist import get_world_size, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from rich.console import Console
from rich.progress import Progress, SpinnerColumn

from xmoco_plugin.distributed import unwrapped
from xmoco_plugin.evaluation import KNNValLoop
from xmoco_plugin.hooks.run_facts import RunFacts

EVERY_SECONDS = 30.0  # longest pause between two lines of a validation, without a terminal


class RunLines(Hook):
    """Says before a run what is run on what, shows how far its validation or test is.

    The commands register it with the Runner; it is in no config and changes nothing of the run.

    Args:
        show_figures: whether a test ends with its metrics, a line each.
    """

    priority = "HIGHEST"  # before what preflight says

    def __init__(self, show_figures: bool = True) -> None:
        self.show_figures = show_figures
        self._bar: Progress | None = None

    def before_train(self, runner: Runner) -> None:
        runner.logger.info("\n".join(_aligned(_training(runner))))

    def before_test(self, runner: Runner) -> None:
        runner.logger.info("\n".join(_aligned(_test(runner))))
        self._begin(runner, runner.test_loop, "test")

    def before_val(self, runner: Runner) -> None:
        self._begin(runner, runner.val_loop, "validation")

    def after_val_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._advance(batch_idx + 1)

    after_test_iter = after_val_iter

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.close()

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self.close()
        if self.show_figures:
            lines = [(name, f"{value:.4g}") for name, value in _numbers(metrics or {})]
            runner.logger.info("\n".join(_aligned(lines)) or "the test has no figure")

    def close(self) -> None:
        """Removes the bar; may be called twice."""
        if self._bar is not None:
            self._bar.stop()
        self._bar = None

    def _begin(self, runner: Runner, loop: Any, what: str) -> None:
        self._what, self._total, self._said = what, len(loop.dataloader), time.monotonic()
        console = Console()
        if not is_main_process() or not console.is_terminal or console.is_dumb_terminal:
            return
        if not (isinstance(loop, KNNValLoop) and loop.show_progress):  # it has bars of its own
            # What hosts print meanwhile goes to the log, not through the bar.
            self._bar = Progress(
                SpinnerColumn(),
                *Progress.get_default_columns(),
                console=console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
            )
            self._task = self._bar.add_task(what, total=self._total)
            self._bar.start()

    def _advance(self, done: int) -> None:
        if self._bar is not None:
            text = self._what if done < self._total else f"{self._what}: its figures"
            self._bar.update(self._task, completed=done, description=text)
        elif is_main_process() and time.monotonic() - self._said >= EVERY_SECONDS:
            self._said = time.monotonic()
            print(f"{self._what}: batch {done:,} of {self._total:,}", flush=True)


def _training(runner: Runner) -> Iterator[tuple[str, str]]:
    optimizer = getattr(runner.optim_wrapper, "optimizer", None)
    by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
    unit = "epoch" if by_epoch else "iteration"
    yield "training", _model(runner)
    yield "data", _data(runner)
    length = _counted(runner.max_epochs if by_epoch else runner.max_iters, unit)
    if optimizer is not None:
        group = optimizer.param_groups[0]
        rate = group.get("initial_lr", group["lr"])
        length += f", {type(optimizer).__name__}, learning rate {rate:g}"
    yield "schedule", length
    if runner.val_loop is not None:
        images = len(runner.val_loop.dataloader.dataset)
        every = getattr(runner.train_loop, "val_interval", 1)
        name = type(runner.val_loop).__name__
        yield "validation", f"{name} on {images:,} images, every {_counted(every, unit)}"
    yield "begins", _begins(runner)
    yield from _folders(runner)


def _test(runner: Runner) -> Iterator[tuple[str, str]]:
    loop = runner.test_loop
    dataset = loop.dataloader.dataset
    yield "testing", _model(runner)
    where = _of(str(getattr(dataset, "data_root", "") or getattr(dataset, "ann_file", "")))
    yield "data", f"{type(dataset).__name__}{where}: {len(dataset):,} images"
    yield "weights", str(runner._load_from or "at random")
    yield from _folders(runner)


def _model(runner: Runner) -> str:
    model = unwrapped(runner.model)
    count = sum(p.numel() for p in model.parameters() if p.requires_grad)
    backbone = getattr(model, "backbone", None)
    on = f" on {type(backbone).__name__}" if backbone is not None else ""
    device = next(model.parameters()).device
    if device.type == "cpu":
        threads = torch.get_num_threads()
        where = f"CPU, {threads} thread{'s' * (threads > 1)}"
    else:
        where = torch.cuda.get_device_name(device) if device.type == "cuda" else str(device)
    several = f", {get_world_size()} processes" if get_world_size() > 1 else ""
    amp = ", mixed precision" if "Amp" in type(runner.optim_wrapper).__name__ else ""
    return f"{type(model).__name__}{on}, {count / 1e6:,.1f} M parameters; {where}{several}{amp}"


def _data(runner: Runner) -> str:
    name = type(runner.train_dataloader.dataset).__name__
    try:
        facts = RunFacts.of(runner)
    except TypeError:  # a set of unknown length
        return name
    return f"{name}{_of(facts.root)}: {facts.sentence()}"


def _begins(runner: Runner) -> str:
    if runner.iter > 0:
        source = f" from {runner._load_from}" if runner._load_from else ""
        return f"at epoch {runner.epoch + 1}, iteration {runner.iter + 1}: resumed{source}"
    if runner._load_from:
        return f"from the weights of {runner._load_from}"
    backbone = getattr(unwrapped(runner.model), "backbone", None)
    init = getattr(backbone, "init_cfg", None)
    checkpoint = init.get("checkpoint") if isinstance(init, dict) else None
    return f"with the backbone of {checkpoint}" if checkpoint else "with random weights"


def _folders(runner: Runner) -> Iterator[tuple[str, str]]:
    yield "work dir", runner.work_dir
    log = Path(runner.log_dir) / f"{runner.timestamp}.log"
    yield "log", f"{os.path.relpath(log, runner.work_dir)} in there has all else; so does --verbose"


def _counted(number: int, unit: str) -> str:
    return f"{number:,} {unit}{'s' * (number != 1)}"


def _of(root: str) -> str:
    return f" of {root}" if root else ""


def _numbers(metrics: dict[str, Any]) -> list[tuple[str, float]]:
    return [(k, float(v)) for k, v in metrics.items() if isinstance(v, int | float | np.number)]


def _aligned(rows: Any) -> list[str]:
    rows = list(rows)
    width = max((len(name) for name, _ in rows), default=0)
    return [f"{name:<{width}}  {value}" for name, value in rows]
