# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The Runner of a command, and what every training of the commands has."""

from datetime import timedelta

import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import init_dist, is_distributed, is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.registry import RUNNERS
from mmengine.runner import BaseLoop, Runner
from mmengine.utils.dl_utils import set_multi_processing
from mmpretrain.models.selfsup import BaseSelfSupervisor

from xmoco_plugin.checkpoint import written_aside
from xmoco_plugin.cli import console
from xmoco_plugin.cli.common import dataloaders
from xmoco_plugin.cli.run_lines import RunLines
from xmoco_plugin.cli.spared_logs import spare_logs
from xmoco_plugin.distributed import unwrapped
from xmoco_plugin.hooks import (
    CheckpointGuardHook,
    ExactResumeHook,
    HealthHook,
    NonFiniteLossHook,
    PreflightHook,
    ProgressHook,
    ResumedHook,
    SameEverywhereHook,
    TimedCheckpointHook,
    WholeCheckpointHook,
)
from xmoco_plugin.untrusted import guard_reading


def build_runner(
    cfg: Config,
    state: console.Quiet | None = None,
    show_figures: bool = True,
    minutes: float | None = None,
) -> Runner:
    """Builds the runner; on a machine without an accelerator, processes talk over gloo.

    Each file is looked at before a transform of the host reads it.

    Args:
        cfg: Of the run.
        state: Of :func:`console.quiet`; None for a console that shows all of the log.
        show_figures: Whether a test shows its metrics.
        minutes: Between two checkpoints of a training; None for the hook's default.

    Raises:
        ValueError: A launcher that mmengine can start on an accelerator only.
    """
    if cfg.launcher != "none" and get_device() == "cpu":
        # mmengine would select a CUDA device first; it leaves a group that exists alone, and
        # hands DDP the index of a device unless the config says that there is none.
        join_group(cfg)
        wrapper = cfg.get("model_wrapper_cfg") or {
            "type": "MMDistributedDataParallel",
            "broadcast_buffers": False,
            "find_unused_parameters": cfg.get("find_unused_parameters", False),
        }
        cfg.model_wrapper_cfg = {"device_ids": None, **wrapper}
    if guard_reading(list(dataloaders(cfg))):
        imports = cfg.get("custom_imports") or dict(imports=[], allow_failed_imports=False)
        if "xmoco_plugin" not in imports["imports"]:
            cfg.custom_imports = dict(imports, imports=[*imports["imports"], "xmoco_plugin"])
    base = RUNNERS.get(cfg.get("runner_type", "Runner"))
    if base is None:
        raise ValueError(f"runner_type={cfg.runner_type!r}: no runner of that name is registered.")
    base = writes_whole(base)
    if state is None:
        runner = base.from_cfg(cfg)
        spare_logs(runner)
        add_hooks(runner, minutes)
        return runner
    runner = console.runner_class(base, state).from_cfg(cfg)
    spare_logs(runner)
    runner.register_hook(RunLines(show_figures))
    add_hooks(runner, minutes)
    # The host's line for each logged step is in the file: something has to show how far it is.
    if not any(isinstance(hook, ProgressHook) for hook in runner.hooks):
        runner.register_hook(ProgressHook())
    return runner


def join_group(cfg: Config) -> None:
    """Connects the processes that a launcher has started, unless they are; over gloo on CPUs.

    Raises:
        ValueError: A launcher that mmengine can start on an accelerator only.
    """
    if cfg.launcher == "none" or is_distributed():  # a training's, which a test follows
        return
    env_cfg = cfg.get("env_cfg") or {}
    dist_cfg = env_cfg.get("dist_cfg") or {}
    if get_device() != "cpu":
        # As the host does before it: or torch would start workers in another way.
        set_multi_processing(**(env_cfg.get("mp_cfg") or {}), distributed=True)
        init_dist(cfg.launcher, **dist_cfg)
        return
    if cfg.launcher != "pytorch":
        raise ValueError(
            f"--launcher {cfg.launcher} needs an accelerator and this machine has none: start "
            "the processes with tools/dist_train.sh, or with torchrun -m xmoco train CONFIG "
            "--launcher pytorch."
        )
    seconds = dist_cfg.get("timeout")  # mmengine's key, for its own groups
    timeout = timedelta(seconds=seconds) if seconds else None
    torch.distributed.init_process_group("gloo", timeout=timeout)


def writes_whole(base: type[Runner]) -> type[Runner]:
    """A subclass of `base` whose config in the work dir is written whole, not in place."""

    class WholeRunner(base):  # type: ignore[valid-type, misc]
        def dump_config(self) -> None:
            if not is_main_process():
                return
            folder: str = self.work_dir
            with written_aside(folder, "config.py") as self._work_dir:
                try:
                    super().dump_config()
                finally:
                    self._work_dir = folder

    return WholeRunner


def add_hooks(runner: Runner, minutes: float | None = None) -> None:
    """Registers what every training of the commands has and a user's own config may lack.

    Processes that are alike, checkpoints that replace their forerunners whole; what a resumed run
    goes on with and what is said of it; of a pretraining, the checks before it and the verdicts.
    """
    if runner.cfg.get("train_cfg") is None:
        return
    runner.hooks[:] = [
        # A subclass keeps its own way.
        WholeCheckpointHook.of(hook) if type(hook) is CheckpointHook else hook
        for hook in runner.hooks
    ]
    missing = [ExactResumeHook, ResumedHook, TimedCheckpointHook, SameEverywhereHook]
    if isinstance(unwrapped(runner.model), BaseSelfSupervisor):
        missing += [PreflightHook, NonFiniteLossHook, CheckpointGuardHook, HealthHook]
    elif runner.cfg.get("default_scope") == "mmpretrain":  # looked at before it trains for nothing
        missing += [PreflightHook]
    for kind in missing:
        if not any(isinstance(hook, kind) for hook in runner.hooks):
            runner.register_hook(kind())
    if minutes is not None:
        timed_checkpoints(runner).minutes = minutes


def end_workers(runner: Runner) -> None:
    """Lets the processes that load images end, once the runner has done its work.

    Left to the collection of garbage, their queues are closed before they are told to, and torch
    waits five seconds for each.
    """
    for loop in (runner._train_loop, runner._val_loop, runner._test_loop):
        if not isinstance(loop, BaseLoop):  # its config, or None
            continue
        for part in vars(loop).values():  # loaders, and iterators that begin them again and again
            if getattr(part, "_iterator", None) is not None:
                part._iterator = None


def timed_checkpoints(runner: Runner) -> TimedCheckpointHook:
    """The hook of a training that writes checkpoints by the clock and on request."""
    return next(hook for hook in runner.hooks if isinstance(hook, TimedCheckpointHook))
