# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Iterator
from typing import Any

import torch
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, IterBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ..distributed import seed_of_run, unwrapped, world
from ..resuming import (
    POSITION,
    EndlessBatches,
    Position,
    place_loader,
    seed_generators,
    step_seed,
)

GRADIENTS = "gradients"  # in a checkpoint between two steps of an optimizer that accumulates


@HOOKS.register_module()
class ExactResumeHook(Hook):
    """Lets a resumed run equal the one that was never stopped: on a CPU bit for bit.

    What a transform draws for an image depends on the run's seed, the epoch and the image, so that
    order, workers and processes see the same views. What the model draws in a step, and views made
    on the device, depend on seed, iteration and process. A checkpoint says where in the epoch it
    was written; a run that goes on from it leaves out the images that are behind, without loading
    them. Iteration-based loops do not load again what they have seen either.

    The commands register it with every training. What it cannot do for a config it says at the
    start of a resumed run, in a line: data sets without numbered images, loops of one's own,
    transforms with a generator or a store of their own, which no hook can see.
    """

    priority = "HIGHEST"

    def __init__(self) -> None:
        self._missed: str | None = None
        self._found: Position | None = None
        self._gradients: dict[str, torch.Tensor] = {}
        self._began = 0  # iteration of this epoch's first batch
        self._resumed = self._took_up = False
        self._skipped = 0  # batches of the resumed epoch
        self._extra = 0  # images beside them
        self._epoch: int | None = None  # that has begun
        self._length = 0  # batches that it counts

    def before_run(self, runner: Runner) -> None:
        """Take the loader over, before anybody draws from it."""
        loop = runner._train_loop
        if isinstance(loop, EpochBasedTrainLoop | IterBasedTrainLoop):
            self._missed = place_loader(loop.dataloader)
        elif hasattr(loop, "dataloader"):
            self._missed = f"the order of the batches is {type(loop).__name__}'s own"

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note where a resumed run goes on."""
        if runner._resume:
            self._resumed, self._found = True, Position.of(checkpoint)
            gradients = checkpoint.get(GRADIENTS)
            self._gradients = gradients if isinstance(gradients, dict) else {}

    def before_train(self, runner: Runner) -> None:
        """Go on from there."""
        loop = runner.train_loop
        seed_of_run(runner.seed)
        self._took_up = self._resumed and runner.iter > 0
        found = self._found if self._took_up else None
        if self._took_up:
            self._say(runner)
        self._resumed = False
        self._put_gradients(runner)
        self._skipped = self._extra = 0
        if self._missed is not None:
            return
        placed = loop.dataloader.placed
        placed.seed = runner.seed
        if found is not None and found.order is not None and hasattr(placed.sampler, "seed"):
            placed.sampler.seed = found.order  # the host draws a new one where the config has none
        made = _batch_size(loop.dataloader), world()[1]
        if isinstance(loop, EpochBasedTrainLoop):
            if found is not None:
                self._skipped = found.batches_for(*made)
                placed.skip = found.skip_for(*made)
                self._extra = placed.skip - self._skipped * made[0]
            return
        if getattr(loop, "fast_forward_on_resume", False):
            return
        # A checkpoint of an older version has gone as many batches as iterations.
        found = found or Position(runner.iter, *made)
        behind, skip, epoch = found.batches_for(*made), found.skip_for(*made), 0
        if hasattr(placed.sampler, "epoch"):
            epoch, rest = divmod(behind, max(len(loop.dataloader), 1))
            skip = rest * made[0]
        else:
            self._extra = skip - behind * made[0]
        self._began = runner.iter - behind
        loop.dataloader_iterator = EndlessBatches(loop.dataloader, epoch, skip, runner.iter)

    def before_train_epoch(self, runner: Runner) -> None:
        """Count the batches of a resumed epoch from where it goes on."""
        loop = runner.train_loop
        if not isinstance(loop, EpochBasedTrainLoop):
            return
        vars(loop).pop("run_iter", None)
        self._began, self._epoch = runner.iter - self._skipped, runner.epoch
        self._length = len(loop.dataloader)
        if self._missed is None:
            # Another hook may have put something around the loader.
            placed = loop.dataloader.placed
            placed.epoch = runner.epoch
            if not placed.skip:
                self._extra = 0
            elif (left := placed.batches_after(placed.skip)) is not None:
                # Batches that do not begin at a multiple of their size may be fewer.
                self._length = self._skipped + left
        if self._skipped:
            skipped, run_iter = self._skipped, loop.run_iter
            loop.run_iter = lambda idx, batch: run_iter(idx + skipped, batch)
            self._skipped = 0

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        """Seed what the step draws."""
        self.seed_step(runner, runner.iter)

    def after_train(self, runner: Runner) -> None:
        seed_of_run(None)

    def at_an_end(self, runner: Runner) -> bool:
        """Whether a resumed run goes on from the end of an epoch; of a step, without epochs."""
        by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        return self._took_up and not (by_epoch and (self._skipped or self._extra))

    def ends_epoch(self, batch_idx: int) -> bool:
        """Whether a batch, by its number as hooks get it, is the last of its epoch."""
        return batch_idx + 1 >= self._length

    @staticmethod
    def seed_step(runner: Runner, iteration: int) -> None:
        """Seed all generators for a step."""
        seed_generators(step_seed(runner.seed, iteration, world()[0]))

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note the position, and the gradients where the optimizer still gathers them."""
        loop, done = runner.train_loop, checkpoint["meta"]["iter"]
        by_epoch = isinstance(loop, EpochBasedTrainLoop)
        # After an epoch the host counts it, but the next one has not begun.
        ended = by_epoch and checkpoint["meta"]["epoch"] != self._epoch
        if self._missed is None:
            placed = loop.dataloader.placed
            order = getattr(placed.sampler, "seed", None)
            position = Position(
                0 if ended else done - self._began,
                _batch_size(loop.dataloader),
                world()[1],
                order if type(order) is int else None,
                0 if ended else self._extra,
                placed.numbered,
            )
            checkpoint[POSITION] = position._asdict()
        counts = getattr(runner.optim_wrapper, "_accumulative_counts", 1)
        if counts > 1 and done % counts and done < loop.max_iters:
            checkpoint[GRADIENTS] = {
                name: p.grad.cpu() for name, p in _parameters(runner) if p.grad is not None
            }

    def _put_gradients(self, runner: Runner) -> None:
        kept, self._gradients = self._gradients, {}
        for name, parameter in _parameters(runner):
            gradient = kept.get(name)
            if isinstance(gradient, torch.Tensor) and gradient.shape == parameter.shape:
                parameter.grad = gradient.to(parameter)
        for part in unwrapped(runner.model).modules() if kept else ():
            if hasattr(part, "await_step"):  # our key encoder
                part.await_step()

    def _say(self, runner: Runner) -> None:
        if self._missed is not None:
            runner.logger.warning(
                f"resumed, but not bit for bit: {self._missed}, so images and draws of this epoch "
                "are others."
            )
        elif self._found is None:
            runner.logger.info(
                "resumed: the checkpoint does not say where in its epoch it was written (another "
                "version wrote it); it goes on at an epoch's begin, with other draws than before."
            )
        else:
            if not self._found.numbered:
                runner.logger.warning(
                    "resumed, but not bit for bit: the sampler does not give whole numbers, so "
                    "draws for the images are others than before."
                )
            made = _batch_size(runner.train_loop.dataloader), world()[1]
            if made != self._found[1:3]:
                begun = self._found.batch_size, self._found.processes
                now = f"resumed with {made[1]} x {made[0]} images a step, begun with "
                now += f"{begun[1]} x {begun[0]}: order and views of the images, queue and schedule"
                if made[0] * made[1] == begun[0] * begun[1]:
                    runner.logger.info(
                        f"{now} stay, and a step has the same images. BatchNorm sees them in other "
                        "groups, and sums are rounded otherwise."
                    )
                else:
                    runner.logger.warning(
                        f"{now} stay, the steps are others. The schedule counts steps: it ends at "
                        "another epoch than was meant; load_from=FILE, resume=False begins the "
                        "config's."
                    )


def _parameters(runner: Runner) -> Iterator[tuple[str, torch.nn.Parameter]]:
    return unwrapped(runner.model).named_parameters()


def _batch_size(loader: Any) -> int:
    """Images of a process's batch; 0 where the loader does not say."""
    return loader.batch_size or getattr(loader.batch_sampler, "batch_size", None) or 0


def exact_resume(runner: Runner) -> ExactResumeHook | None:
    """The hook of a training; None where it has none."""
    return next((hook for hook in runner.hooks if isinstance(hook, ExactResumeHook)), None)
