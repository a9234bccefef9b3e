# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoint import (
    CheckpointError,
    compare_state,
    describe_difference,
    state_dict_of,
)
from ..distributed import unwrapped
from ..weights import check_checkpoint, check_kinds, noted_checkpoint


@HOOKS.register_module()
class CheckpointGuardHook(Hook):
    """Stops before a checkpoint that cannot be right has changed a single weight.

    Before anything is loaded, the file is read without running code it may carry; a resumed
    optimizer must be finite. Before the weights are copied, keys and shapes are compared:

    - resuming: any difference is an error;
    - ``load_from``: other shapes, or no weight in common, are an error; keys that only one side
      has are named in one warning; beside a backbone alone, as
      `pretrain --init` writes it, all else begins anew.

    mmpretrain's MoCo and XMoCo have the same keys, so either resumes the other.

    Raises:
        CheckpointError: naming the file's fault, or the keys and the shapes of both sides.
    """

    priority = "VERY_HIGH"

    def before_run(self, runner: Runner) -> None:
        """Read the file that is about to be loaded, if it is on this machine."""
        path = runner._load_from
        if runner._resume and path is None:
            path = noted_checkpoint(runner.work_dir)
        if path is None:
            return
        try:
            check_checkpoint(path, resumed=runner._resume)
        except CheckpointError as error:
            others = sorted(p.name for p in Path(runner.work_dir).glob("*.pth") if p != Path(path))
            hint = f" Others in {runner.work_dir}: {', '.join(others)}." if others else ""
            raise CheckpointError(f"{error}{hint}") from None

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Called by the host between reading the file and copying the weights."""
        model = unwrapped(runner.model)
        ours, theirs = model.state_dict(), state_dict_of(checkpoint)
        check_kinds(ours, theirs)
        difference = compare_state(ours, theirs)
        if not any(difference):
            return
        meta = checkpoint.get("meta")
        alone = isinstance(meta, dict) and meta.get("backbone_alone") is True
        if alone and not runner._resume and not (difference.mismatched or difference.unexpected):
            # With these the host finds all that it looks for, and has nothing to warn of.
            checkpoint["state_dict"].update({key: ours[key] for key in difference.missing})
            runner.logger.info("The backbone begins with the given weights, all else anew.")
            return
        text = describe_difference(difference)
        shared = len(ours.keys() & theirs.keys())
        name = type(model).__name__
        if runner._resume:
            raise CheckpointError(
                f"This checkpoint is not of this {name}; nothing was loaded.\n{text}\n"
                "Resume with the config it was trained with, or start a new run from its weights: "
                "load_from=<file>, resume=False."
            )
        if difference.mismatched or not shared:
            raise CheckpointError(
                f"This checkpoint does not fit this {name} ({shared} of {len(ours)} keys in "
                f"common); nothing was loaded.\n{text}\n"
                "Check that backbone, neck and queue are those it was trained with."
            )
        runner.logger.warning(
            f"The checkpoint fits {shared} of the {len(ours)} weights of {name}:\n{text}"
        )
