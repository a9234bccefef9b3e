# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import re
import time
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ..checkpoint import check_folder, write_text
from ..distributed import world
from ..evaluation import KNNValLoop
from ..resuming import spare_workers
from ..untrusted import printable
from ..weights import TIMED_NAME, is_timed
from .exact_resume_hook import exact_resume
from .health_hook import STATE

NOTHING, WRITE, STOP = range(3)
GONE = re.compile(r"closed by peer|reset by peer|[Bb]roken pipe")


@HOOKS.register_module()
class TimedCheckpointHook(Hook):
    """Writes checkpoints by the clock and on request, in the middle of an epoch too.

    ``epoch_E_iter_I.pth`` in the work dir, E epochs and I iterations after the start, is written
    and noted in ``last_checkpoint`` when that much time has gone by since the last checkpoint of
    any kind. The one before goes when it stands, the last one when an epoch's own checkpoint does.
    With :class:`.ExactResumeHook` a run goes on from it as if it had not been stopped. While an
    optimizer accumulates gradients it waits for the step.

    The commands let SIGUSR1 write one, and SIGTERM write one and end: after the step that runs, on
    all processes after the same.

    A run that goes on from the end of an epoch runs its kNN validation first, which the checkpoint
    was written before.

    Args:
        minutes: between two checkpoints; 0 for requests alone. Default 30 (ours).

    Raises:
        NoGlooError: Several processes find no way to agree.
        NotWrittenError: The work dir is gone. On a full disk a line says so, and the run goes on.
    """

    priority = "LOWEST"  # when all others have dealt with the step

    def __init__(self, minutes: float = 30) -> None:
        if not minutes >= 0:
            raise ValueError(f"minutes between checkpoints must be at least 0, got {minutes}")
        self.minutes = minutes
        # The one that stands, if it is newer than the host's; on all processes.
        self.written: str | None = None
        self.stepping = False  # whether a step is being made or waited for
        self._asked = NOTHING
        self._due = NOTHING  # agreed on by all processes, and not done yet
        self._last = 0.0
        self._seen: str | None = None  # of the host's checkpoints, the last
        self._group: Any = None

    def ask(self, stop: bool = False) -> None:
        """Ask, from a signal's handler, for a checkpoint after this step, and for the end."""
        self._asked = max(self._asked, STOP if stop else WRITE)

    def before_run(self, runner: Runner) -> None:
        """Let signals to all processes of a job reach the training, not the loaders' workers."""
        loops = [runner._train_loop, runner._val_loop]
        for loader in [getattr(loop, "dataloader", None) for loop in loops] + [
            getattr(runner._val_loop, "bank_loader", None)
        ]:
            spare_workers(loader)

    def before_train(self, runner: Runner) -> None:
        self._last, self._due, self.stepping = time.monotonic(), NOTHING, False
        self._seen = runner.message_hub.runtime_info.get("last_ckpt")
        if world()[1] > 1 and self._group is None:
            # Beside that of the model: no step waits for the device to learn of a request.
            self._group = _gloo_group()
        if _lacks_validation(runner):
            runner.val_loop.run()

    def before_train_epoch(self, runner: Runner) -> None:
        self.stepping = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        self._agree()
        self._follow_host(runner)
        loop = runner.train_loop
        if self._due == NOTHING:
            return
        if isinstance(loop, EpochBasedTrainLoop) and _ends_epoch(runner, batch_idx):
            return
        done, counts = runner.iter + 1, getattr(runner.optim_wrapper, "_accumulative_counts", 1)
        if done % counts == 0:
            self._serve(runner, dict(epoch=runner.epoch, iter=done))

    def after_train_epoch(self, runner: Runner) -> None:
        self.stepping = False
        self._agree()  # on what was asked for while the epoch's checkpoint was written
        self._follow_host(runner)
        if self._due != NOTHING:
            by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
            self._serve(runner, dict(epoch=runner.epoch + by_epoch, iter=runner.iter))

    def before_val(self, runner: Runner) -> None:
        self._stepped, self.stepping = self.stepping, False

    def after_val(self, runner: Runner) -> None:
        self.stepping = self._stepped

    def _agree(self) -> None:
        """Take up what this process, or any of several, was asked for."""
        asked, self._asked = self._asked, NOTHING
        if self.minutes and time.monotonic() - self._last >= 60 * self.minutes:
            asked = max(asked, WRITE)
        self._due = max(self._due, self._told(asked, dist.ReduceOp.MAX))

    def _told(self, number: int, of_all: Any) -> int:
        """The largest or smallest number of all processes, when all have said theirs."""
        if self._group is None:
            return number
        told = torch.tensor(number)
        dist.all_reduce(told, of_all, group=self._group)
        return int(told)

    def _follow_host(self, runner: Runner) -> None:
        """A checkpoint that the host has just written is as good as one of ours."""
        written = runner.message_hub.runtime_info.get("last_ckpt")
        if written == self._seen:
            return
        self._seen, self._last = written, time.monotonic()
        _remove_timed(runner, None)
        self.written = None
        due, self._due = self._due, NOTHING
        if due == STOP:
            raise StopRequested

    def _serve(self, runner: Runner, meta: dict[str, int]) -> None:
        due, self._due, self._last = self._due, NOTHING, time.monotonic()
        runner.call_hook("before_timed_checkpoint")  # collective
        file = Path(runner.work_dir) / TIMED_NAME.format(**meta)
        stands = True
        if is_main_process():
            try:
                self._write(runner, file, meta)
            except OSError as error:
                if not file.parent.is_dir():
                    raise
                said = str(error).rstrip(".")
                runner.logger.warning(f"no checkpoint was written: {said}. The last one stays.")
                stands = False
        # A launcher kills the others soon after the first one has left: nobody does before it is
        # written. And all must know of it, to go back to it together.
        if self._told(WRITE if stands else NOTHING, dist.ReduceOp.MIN) == WRITE:
            self.written = str(file)
        if due == STOP:
            raise StopRequested

    def _write(self, runner: Runner, file: Path, meta: dict[str, int]) -> None:
        check_folder(file)
        began = time.monotonic()
        runner.save_checkpoint(str(file.parent), file.name, by_epoch=False, meta=dict(meta))
        write_text(file.parent / "last_checkpoint", str(file.absolute()))
        _remove_timed(runner, file)
        took = time.monotonic() - began
        runner.logger.info(f"checkpoint after {meta['iter']:,} iterations: {file} ({took:.1f} s)")


class StopRequested(KeyboardInterrupt):
    """A training has written its checkpoint and ends because it was asked to."""


class NoGlooError(Exception):
    """The processes of a training cannot talk over gloo."""


def _gloo_group() -> Any:
    """A group of all processes, over gloo, which all have spoken in.

    Raises:
        NoGlooError: gloo finds no way between them.
    """
    try:
        group = dist.new_group(backend="gloo")
        dist.all_reduce(torch.zeros(1), group=group)
    except RuntimeError as error:
        # Over gloo they have talked before; and who is gone says itself why.
        if dist.get_backend() == "gloo" or GONE.search(str(error)):
            raise
        reason = printable(str(error).splitlines()[0][:200])
        raise NoGlooError(
            f"the processes cannot talk over gloo, by which they agree to stop ({reason}): set "
            "GLOO_SOCKET_IFNAME to the network interface between the machines, such as eth0, on "
            "each of them."
        ) from None
    return group


def _remove_timed(runner: Runner, kept: Path | None) -> None:
    """Remove the checkpoints by the clock of this run but one."""
    if is_main_process():
        for file in Path(runner.work_dir).glob("*.pth"):
            if is_timed(file) and file != kept:
                file.unlink(missing_ok=True)


def _ends_epoch(runner: Runner, batch_idx: int) -> bool:
    exact = exact_resume(runner)
    if exact is None:
        return batch_idx + 1 >= len(runner.train_loop.dataloader)
    return exact.ends_epoch(batch_idx)


def _lacks_validation(runner: Runner) -> bool:
    """Whether the run goes on from where a kNN validation was due, which came after."""
    loop, val = runner.train_loop, runner.val_loop
    exact = exact_resume(runner)
    if not isinstance(val, KNNValLoop) or exact is None or not exact.at_an_end(runner):
        return False
    known = runner.message_hub.runtime_info.get(STATE)
    accuracies = known.get("accuracies", []) if isinstance(known, dict) else []
    if any(runner.iter == line[0] for line in accuracies):
        return False
    loop._decide_current_val_interval()
    by_epoch = isinstance(loop, EpochBasedTrainLoop)
    done, end = (loop.epoch, loop.max_epochs) if by_epoch else (loop.iter, loop.max_iters)
    return done >= loop.val_begin and (done % loop.val_interval == 0 or done == end)
