# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from collections import deque
from pathlib import Path

import torch
from mmengine.dist import all_reduce, get_rank, get_world_size
from mmengine.hooks import CheckpointHook, Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoint import NotWrittenError
from ..untrusted import printable
from ..weights import noted_checkpoint
from .bad_batch import Batch, keep, not_finite, write
from .timed_checkpoint_hook import TimedCheckpointHook

NEVER = torch.iinfo(torch.int64).max


class NonFiniteLossError(RuntimeError):
    """Training stopped because a loss became NaN or infinite.

    Attributes:
        checkpoint: The last good one of the run; None where there is none.
    """

    checkpoint: str | None = None


@HOOKS.register_module()
class NonFiniteLossHook(Hook):
    """Stops training when a loss term is NaN or infinite, before such a state is saved.

    The first bad iteration of each term is kept on the device and read every ``interval``
    iterations, at the end of an epoch, before validation and before a checkpoint is due: no
    synchronisation in between, and the message still names the first bad iteration. All processes
    agree on it and stop together. On a CPU without other processes every iteration is read.
    Where a checkpoint may follow, the weights are looked at as well: a gradient can overflow while
    every loss so far was finite.

    The batch of the bad step is kept in ``nonfinite_ITERATION.npz``: the images' names, and their
    views where each iteration is read. `xmoco train CONFIG --replay FILE` runs it again.

    Args:
        interval: iterations between two looks. Default 50 (ours).

    Raises:
        NonFiniteLossError: naming iteration, epoch, terms and the last good checkpoint.
    """

    # Before CheckpointHook, which deletes the oldest checkpoint before it writes the new one.
    priority = "NORMAL"

    def __init__(self, interval: int = 50) -> None:
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.interval = interval
        self._terms: list[str] = []
        self._first: torch.Tensor | None = None  # (number of terms,) iteration from 1, or NEVER
        self._last_good: str | None = None
        self._seen: str | None = None  # of the host's checkpoints, the last
        self._batches: deque[Batch] = deque(maxlen=interval)  # the latest
        self._done = 0  # iterations; at the end of an epoch, the runner's counter has moved on

    def before_train(self, runner: Runner) -> None:
        self._first, self._done = None, runner.iter
        # What the hub holds by now is older than the checkpoint that it comes from, or is that one.
        self._seen = runner.message_hub.runtime_info.get("last_ckpt")
        self._last_good = _resumed_from(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        self._done = runner.iter + 1
        losses = {name: value for name, value in (outputs or {}).items() if "loss" in name}
        if not losses:
            return
        on_cpu = next(iter(losses.values())).device.type == "cpu"
        alone_on_cpu = on_cpu and get_world_size() == 1
        each = alone_on_cpu or self.interval == 1
        if each:
            self._batches.clear()  # of the others the views would stay in memory
        self._batches.append(keep(self._done, data_batch, each))
        terms = sorted(losses)
        values = torch.stack([losses[t].detach().float().sum() for t in terms])
        if self._first is None or terms != self._terms:
            self._terms = terms
            self._first = torch.full((len(terms),), NEVER, device=values.device)
        found = torch.where(values.isfinite(), NEVER, self._done)
        self._first = torch.minimum(self._first, found)
        if _due(self, runner):
            self._look_at_all(runner)
        elif alone_on_cpu or self.every_n_train_iters(runner, self.interval):
            self._look(runner)

    def after_train_epoch(self, runner: Runner) -> None:
        self._look_at_all(runner)

    def before_val(self, runner: Runner) -> None:
        self._look(runner)

    def after_train(self, runner: Runner) -> None:
        self._look(runner)

    def before_timed_checkpoint(self, runner: Runner) -> None:
        """As before one at an epoch's end; collective."""
        self._look_at_all(runner)

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """The last barrier; only rank 0 gets here, so nothing may be exchanged."""
        if self._first is not None:
            self._stop_if_bad(runner, self._first)

    def _look(self, runner: Runner) -> None:
        self._note_checkpoint(runner)
        if self._first is None:
            return
        first = self._first.clone()
        all_reduce(first, op="min")
        self._stop_if_bad(runner, first)

    def _look_at_all(self, runner: Runner) -> None:
        self._look(runner)
        # Alike on all ranks, so that nothing has to be exchanged.
        weights = dict(runner.model.named_parameters())
        finite = torch.stack([w.detach().float().sum() for w in weights.values()]).isfinite()
        bad = [name for name, fine in zip(weights, finite.tolist(), strict=True) if not fine]
        if bad:
            raise self._error(
                f"{len(bad)} of {len(weights)} weights, {bad[0]} the first, are NaN or infinite "
                f"after iteration {self._done}{_epoch(runner, self._done)}, though no "
                f"loss was: a gradient overflowed. {self._kept(runner, self._done, bad[:5])}"
            )

    def _note_checkpoint(self, runner: Runner) -> None:
        # The host names a checkpoint before it has written it: what is noted here was written.
        last = runner.message_hub.runtime_info.get("last_ckpt")
        if last != self._seen:
            self._last_good = self._seen = last
        for hook in runner.hooks:
            if isinstance(hook, TimedCheckpointHook) and hook.written:
                self._last_good = hook.written

    def _stop_if_bad(self, runner: Runner, first: torch.Tensor) -> None:
        steps = dict(zip(self._terms, first.tolist(), strict=True))
        step = min(steps.values())
        if step == NEVER:
            return
        terms = [t for t, s in steps.items() if s == step]
        # The total is bad because a term is: it is named only where it stands alone.
        terms = [t for t in terms if t != "loss"] or terms
        # Where one of several processes met it, the others have nothing to show.
        met = self._first is None or int(self._first.min()) == step
        raise self._error(
            f"{' and '.join(terms)} became NaN or infinite at iteration "
            f"{step}{_epoch(runner, step)}. Training stopped at iteration {self._done}; "
            f"nothing was saved since. {self._kept(runner, step, terms) if met else ''}"
        )

    def _error(self, text: str) -> NonFiniteLossError:
        error = NonFiniteLossError(f"{text}{self._way_out()}")
        if self._last_good and os.path.exists(self._last_good):
            error.checkpoint = self._last_good
        return error

    def _kept(self, runner: Runner, step: int, terms: list[str]) -> str:
        """Keeps the batch of a step in a file; what there is to say of it."""
        batch = next((batch for batch in self._batches if batch.step == step), None)
        if batch is None or not any(batch.names):
            return ""
        rank = f"_rank{get_rank()}" if get_world_size() > 1 else ""
        path = Path(runner.work_dir) / f"nonfinite_{step}{rank}.npz"
        last = self._last_good and os.path.basename(self._last_good)
        facts = dict(terms=terms, seed=runner.seed, checkpoint=last or None)
        try:
            write(batch, path, facts)
        except NotWrittenError as error:
            return f"The batch of that step was not kept: {error} "
        bad = not_finite(batch)
        images = (
            f"The input of {', '.join(map(printable, bad[:5]))} is not finite itself. "
            if bad
            else ""
        )
        return (
            f"{images}The {len(batch.names)} images of that step are kept in {path}: the same "
            f"command with --replay {path} runs it again. "
        )

    def _way_out(self) -> str:
        if self._last_good and os.path.exists(self._last_good):
            start = (
                f"The last good checkpoint is {self._last_good}; resume from it with --resume "
                f"{self._last_good} and"
            )
        else:
            start = "There is no checkpoint of this run yet; start again with"
        return f"{start} a lower learning rate, a longer warm-up, gradient clipping or no --amp."


def _epoch(runner: Runner, step: int) -> str:
    if runner.max_epochs is None or runner.max_epochs <= 1:
        return ""
    per_epoch = len(runner.train_dataloader)
    return f" (epoch {(step - 1) // per_epoch + 1}, its iteration {(step - 1) % per_epoch + 1})"


def _resumed_from(runner: Runner) -> str | None:
    """The checkpoint that a run goes on from, if it is on this machine."""
    if not runner._resume:
        return None
    path = runner._load_from or noted_checkpoint(runner.work_dir)
    return str(path) if path is not None and os.path.exists(path) else None


def _due(hook: Hook, runner: Runner) -> bool:
    """Whether a checkpoint counted in iterations is written after this one."""
    return any(
        isinstance(other, CheckpointHook)
        and not other.by_epoch
        and (
            hook.every_n_train_iters(runner, other.interval, other.save_begin)
            or (other.save_last and hook.is_last_train_iter(runner))
        )
        for other in runner.hooks
    )
