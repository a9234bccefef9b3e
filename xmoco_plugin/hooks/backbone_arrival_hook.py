# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmengine.runner import Runner

from ..checkpoint import CheckpointError, read_checkpoint
from ..distributed import unwrapped
from ..export.arrival import (
    NO_CHECKPOINT,
    check_arrival,
    local_file,
    pretrained_config,
    read_backbone,
)


# In the root registry: mmdet and mmseg look there after their own, and never in mmpretrain's.
@HOOKS.register_module()
class BackboneArrivalHook(Hook):
    """Stops a fine-tuning whose backbone is not that of its pretraining checkpoint.

    The host says in one warning among many which keys did not fit, and trains on. Here, the file
    is read without running code it may carry before the host opens it, and after initialization
    every backbone weight is compared. Where all are equal, one line in the log says so.

    A resumed run continues from weights of its own; the hook says that it does not apply.

    Args:
        checkpoint: File to compare with. Defaults to that of the backbone's ``init_cfg``, or to
            ``load_from``, which the host loads last.
        prefix: Of the backbone's keys in the file; by default that of ``init_cfg``, or 'backbone.'
            where the file has such keys, or none.
        ignore: Regular expressions of keys that need not arrive: layers that are new in this model,
            or stages that it does not use.

    Raises:
        CheckpointError: With counts and the first ten keys that are missing, extra, of another
            shape or of another value.
    """

    priority = "VERY_HIGH"

    def __init__(
        self,
        checkpoint: str | None = None,
        prefix: str | None = None,
        ignore: Sequence[str] = (),
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.ignore = [ignore] if isinstance(ignore, str) else list(ignore)

    def before_run(self, runner: Runner) -> None:
        """Read the file before the host does, which might run code that is in it."""
        model = unwrapped(runner.model)
        config = pretrained_config(model)
        compared = self.checkpoint or self._loaded(runner) or config.get("checkpoint")
        if not compared and not runner._resume:
            raise CheckpointError(NO_CHECKPOINT)
        # What is not on this machine yet is looked at when the host has fetched it.
        if compared and "://" not in str(compared):
            read_backbone(local_file(compared), self._prefix(runner) or config.get("prefix"))
        for checkpoint in {pretrained_config(m).get("checkpoint") for m in model.modules()}:
            if checkpoint and "://" not in str(checkpoint):
                read_checkpoint(local_file(checkpoint), mmap=True)

    def before_train(self, runner: Runner) -> None:
        """Compare, after initialization and loading, before the first iteration."""
        if runner._resume or runner.iter > 0:
            runner.logger.info(
                "BackboneArrivalHook: this run was resumed from its own checkpoint, so there is "
                "nothing to compare."
            )
            return
        checkpoint = self.checkpoint or self._loaded(runner)
        arrival = check_arrival(runner.model, checkpoint, self._prefix(runner), self.ignore)
        runner.logger.info(str(arrival))

    def _prefix(self, runner: Runner) -> str | None:
        # The host loads load_from into the whole model, whatever the backbone's init_cfg says.
        loaded = self._loaded(runner) and not self.checkpoint
        return "backbone." if self.prefix is None and loaded else self.prefix

    @staticmethod
    def _loaded(runner: Runner) -> str | None:
        return None if runner._resume else runner._load_from
