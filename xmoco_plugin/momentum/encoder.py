# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import weakref

import torch
from mmengine.model import ExponentialMovingAverage
from torch import nn
from torch.optim.optimizer import register_optimizer_step_post_hook

# Encoders that wait to hear of an optimizer step. The algorithm never sees the optimizer (under
# DDP not even `train_step`), so that torch's own hook is the one place where a step is certain:
# it stays silent for the micro-batches of gradient accumulation and for steps that a gradient
# scaler skips.
_waiting: "weakref.WeakSet[MomentumEncoder]" = weakref.WeakSet()


def _after_optimizer_step(optimizer, args, kwargs) -> None:
    for encoder in tuple(_waiting):
        encoder.note_step(optimizer)


register_optimizer_step_post_hook(_after_optimizer_step)


class MomentumEncoder(ExponentialMovingAverage):
    """Key encoder of momentum contrast: an exponential moving average of the query encoder.

    Keys of the state dict as mmengine's ``ExponentialMovingAverage``. Unlike it,

    - parameters move once per optimizer step, however often ``update_parameters`` is called in
      between (gradient accumulation calls it once per micro-batch);
    - the key encoder keeps its own BatchNorm statistics instead of being handed the query's;
    - the update is a few multi-tensor kernels and never waits for the device.

    Args:
        model: the query encoder.
        momentum: update rate in (0, 1): the paper's m = 0.999 is 0.001 here.
    """

    def __init__(self, model: nn.Module, momentum: float = 0.001) -> None:
        super().__init__(model, momentum)
        self._steps: int | None = 0  # `steps` on the host; None: to be read from the buffer
        self._due = True
        self._query_ids: frozenset[int] = frozenset()

    @torch.no_grad()
    def update_parameters(self, model: nn.Module) -> None:
        """Follow ``model`` if its optimizer has stepped since the last call.

        The first call copies parameters and buffers, for the query encoder may have been
        initialized after this one was built.
        """
        if not self._due:
            if not self._query_ids:  # after `await_step`
                self._query_ids = frozenset(map(id, model.parameters()))
                _waiting.add(self)
            return
        source, average = list(model.parameters()), list(self.module.parameters())
        if self.host_steps == 0:
            torch._foreach_copy_(average, source)
            buffers = list(self.module.buffers())
            if buffers:
                torch._foreach_copy_(buffers, list(model.buffers()))
        else:
            torch._foreach_lerp_(average, source, self.momentum)
        self.steps += 1
        self._steps = self.host_steps + 1
        self._due = False
        self._query_ids = frozenset(map(id, source))
        _waiting.add(self)

    @property
    def host_steps(self) -> int:
        """Number of updates so far, without asking the device except after loading a state."""
        if self._steps is None:
            self._steps = int(self.steps.item())
        return self._steps

    def await_step(self) -> None:
        """Stay until an optimizer steps: a loaded state is of between two micro-batches."""
        self._due = False

    def note_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Make the next update due if ``optimizer`` holds a parameter of the query encoder."""
        self._due = self._due or any(
            id(parameter) in self._query_ids
            for group in optimizer.param_groups
            for parameter in group["params"]
        )

    def __setstate__(self, state: dict) -> None:
        super().__setstate__(state)
        # A copy (deepcopy, pickle) has a query encoder of its own, whose steps nobody has noted.
        self._due, self._query_ids = True, frozenset()

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        # A checkpoint is written after an optimizer step and before the forward pass that follows
        # it, as in mmpretrain's MoCo: that step has not reached the average yet.
        self._steps, self._due = None, True
