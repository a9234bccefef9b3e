# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Trains the model of a config: mmpretrain's options, and --data-root."""

import argparse
import contextlib
import gc
import os
import sys
import time
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.dist import broadcast_object_list, get_rank, get_world_size
from mmengine.runner import Runner

from xmoco_plugin.cli import common, console, data_table, exits, replay, runners, starts, test
from xmoco_plugin.cli.global_batch import first_ones, share_batch
from xmoco_plugin.cli.sharded import refuse_sharded
from xmoco_plugin.cli.stop_signals import heeded
from xmoco_plugin.distributed import seed_of_run
from xmoco_plugin.downstream import prepare
from xmoco_plugin.hooks import LowerRateHook, NonFiniteLossError, ProgressHook, StopRequested
from xmoco_plugin.pretraining import LOCK, RunLock, check_numbers, remove_temporary, run_settings
from xmoco_plugin.untrusted import FileRefusedError, last_checkpoint, printable, read_text
from xmoco_plugin.untrusted.streams import escape_controls
from xmoco_plugin.weights import check_named_weights, go_on_from

STALE = 600  # seconds after which a half-written file is nobody's any more; ours
LOWER = 0.1  # times the learning rate, after a loss that was not finite; ours


def merge(cfg: Config, args: argparse.Namespace) -> None:
    """Writes the command line into `cfg`.

    Raises:
        ValueError: An option that this config or this machine cannot follow.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        if get_device() == "cpu":
            raise ValueError(
                "--amp needs an accelerator and this machine has none: leave it out. In bfloat16 a "
                "CPU trains with --cfg-options optim_wrapper.type=CpuAmpOptimWrapper."
            )
        cfg.optim_wrapper.type = "AmpOptimWrapper"
        cfg.optim_wrapper.setdefault("loss_scale", "dynamic")
    if args.resume is not None:
        cfg.resume = True
        cfg.load_from = None if args.resume == "auto" else args.resume
    if args.auto_scale_lr:
        if "auto_scale_lr" not in cfg:
            raise ValueError(
                f"--auto-scale-lr: {args.config} does not say for which batch its learning rate is "
                "meant. Add auto_scale_lr = dict(base_batch_size=...) to it."
            )
        cfg.auto_scale_lr.enable = True
    common.merge_common(
        cfg,
        args,
        dict(
            pin_memory=True,
            persistent_workers=True,
            collate_fn=dict(type="default_collate"),
        ),
    )
    kind = str((cfg.get("optim_wrapper") or {}).get("type", "")).split(".")[-1]
    if kind in ("OptimWrapper", "CpuAmpOptimWrapper"):
        for name in ("loss_scale", "dtype"):  # of the type in whose place it was put
            cfg.optim_wrapper.pop(name, None)
    elif kind != "CpuAmpOptimWrapper" and "Amp" in kind and get_device() == "cpu":
        raise ValueError(
            f"{args.config} computes in mixed precision ({kind}), which needs an accelerator, and "
            "this machine has none: --cfg-options optim_wrapper.type=OptimWrapper computes in "
            "float32, optim_wrapper.type=CpuAmpOptimWrapper in bfloat16 on the CPU."
        )
    if args.no_persistent_workers:
        for loader in common.dataloaders(cfg):
            loader.persistent_workers = False


def main(args: argparse.Namespace) -> None:
    """Trains."""
    with console.quiet(args.verbose) as state:
        with contextlib.ExitStack() as holds:
            folder = train(args, state, holds)
        if args.test_out is not None:
            gc.collect()  # the training's model and workers are held by cycles
            test.test(test_arguments(args, folder), state)


def test_arguments(args: argparse.Namespace, folder: str) -> argparse.Namespace:
    """What `test` would be told to test the last checkpoint of a training in `folder`.

    Raises:
        FileNotFoundError: There is none.
    """
    last = last_checkpoint(folder)
    if last is None:
        raise FileNotFoundError(f"--test-out: the training has left no checkpoint in {folder}.")
    changed = dict(
        # As the Runner wrote it, with all options in it: a test has no part that some are for.
        config=str(Path(folder, Path(args.config).name)),
        cfg_options=None,
        data_root=None,
        checkpoint=str(last),
        out=args.test_out,
        work_dir=str(Path(folder, test.SUBFOLDER)),
    )
    return argparse.Namespace(**{**vars(args), **changed})


def hold(folder: Path, holds: contextlib.ExitStack) -> None:
    """Holds the folder of a `pretrain`, as that does, so that one of both is refused.

    Raises:
        PretrainError: It is worked on.
    """
    if exits.speaks() and (folder / LOCK).is_file():
        holds.enter_context(RunLock(folder))


def train(
    args: argparse.Namespace, state: console.Quiet | None, holds: contextlib.ExitStack
) -> str:
    """Trains as the command line says; returns the work dir.

    Args:
        args: The options.
        state: What :func:`console.quiet` gave.
        holds: Gets what holds the folder.

    Raises:
        KeyboardInterrupt: With how to go on.
    """
    with console.preparing(state):
        if args.config_as_data:
            cfg = run_settings(Path(args.config).absolute().parent).config
        else:
            cfg = common.load_config(args.config)
        begins_with = own_start(cfg, args)
        merge(cfg, args)
        hold(Path(cfg.work_dir), holds)
        if args.global_batch is not None:
            runners.join_group(cfg)
            share_batch(cfg, args.global_batch, get_world_size())
        check_numbers(cfg)
        refuse_sharded(cfg)
        common.check_data(cfg)
        if args.replay is not None:
            checkpoint = None if args.resume in (None, "auto") else args.resume
            replay.replay(cfg, Path(args.replay).expanduser().absolute(), state, checkpoint)
            return cfg.work_dir
        data_table.show(prepare(cfg), Path(cfg.work_dir))
        resume_auto = cfg.get("resume") and cfg.get("load_from") is None
        together = args.global_batch is not None  # they may come and go
        latest = newest(cfg) if resume_auto and (not together or get_rank() == 0) else None
        if resume_auto and together:
            latest = first_ones(latest)
        if resume_auto and latest is None:
            cfg.resume = False  # or the host's log says that it went on from None
            cfg.load_from = begins_with
        check_named_weights(cfg, latest)
        if os.environ.get("RANK", "0") == "0" and Path(cfg.work_dir).is_dir():
            remove_temporary(Path(cfg.work_dir), older=STALE)
        starts.bring(cfg, Path(cfg.work_dir))
        began = time.time()
        runner = runners.build_runner(cfg, state, minutes=args.checkpoint_minutes)
        if latest is not None:  # or the host would follow the path that is noted, wherever it leads
            runner._load_from = str(latest)
    try:
        run(runner)
    except NonFiniteLossError as error:
        if args.on_nan != "retry":
            raise
        failed = str(error), error.checkpoint
    except KeyboardInterrupt as stop:
        raise stopped(stop, cfg, began) from None
    else:
        return cfg.work_dir
    del runner
    gc.collect()  # with its workers, which cycles hold
    try:
        retry(cfg, state, *failed, args.checkpoint_minutes, begins_with)
    except KeyboardInterrupt as stop:
        raise stopped(stop, cfg, began) from None
    return cfg.work_dir


def own_start(cfg: Config, args: argparse.Namespace) -> str | None:
    """The weights that a run begins with, not those that --resume goes on from.

    Args:
        cfg: As the file says, before the command line.
        args: The options.
    """
    said = {"resume": cfg.get("resume"), "load_from": cfg.get("load_from")}
    said |= {key: value for key, value in (args.cfg_options or {}).items() if key in said}
    return None if said["resume"] else said["load_from"]


def run(runner: Runner) -> None:
    """Trains; its bar does not stand between the log and what follows."""
    try:
        with heeded(runners.timed_checkpoints(runner)):
            runner.train()
    except (KeyboardInterrupt, NonFiniteLossError):
        for hook in runner.hooks:
            if isinstance(hook, ProgressHook):
                hook.close()
        raise
    finally:
        runners.end_workers(runner)
        seed_of_run(None)  # a hook forgets it at the end of a training, which may not come


def stopped(stop: KeyboardInterrupt, cfg: Config, began: float) -> KeyboardInterrupt:
    """The end of a training that was asked to stop, with how to go on."""
    kind = exits.Terminated if isinstance(stop, StopRequested) else type(stop)
    return kind(how_to_go_on(cfg, began))


def retry(
    cfg: Config,
    state: console.Quiet | None,
    why: str,
    checkpoint: str | None,
    minutes: float | None = None,
    begins_with: str | None = None,
) -> None:
    """Trains on from the last good checkpoint, or anew, with a lower learning rate.

    Args:
        cfg: Of the run that has failed.
        state: Of :func:`console.quiet`.
        why: It failed.
        checkpoint: The last good one, if any.
        minutes: Between two checkpoints.
        begins_with: Weights that the config begins with, if any.

    Raises:
        NonFiniteLossError: It fails again.
    """
    agreed = [checkpoint]
    broadcast_object_list(agreed)  # another machine may have other files
    (checkpoint,) = agreed
    start = f"going on from {checkpoint}" if checkpoint else "beginning anew"
    if os.environ.get("RANK", "0") == "0":
        print(
            f"warning: {escape_controls(why)}\n--on-nan retry: {start} with {LOWER:g} times the "
            "learning rate, this once",
            file=sys.stderr,
            flush=True,
        )
    cfg.resume = checkpoint is not None
    # Where it begins anew, not from what the failed run had gone on from.
    cfg.load_from = begins_with if checkpoint is None else checkpoint
    runner = runners.build_runner(cfg, state, minutes=minutes)
    runner.register_hook(LowerRateHook(LOWER))
    run(runner)


def newest(cfg: Config) -> Path | None:
    """The checkpoint that the work dir goes on from; says which ones are not whole.

    Raises:
        FileRefusedError: What it notes cannot be read, is not there, or no checkpoint is whole:
            beginning anew would write over what is left of them.
    """
    kept = ((cfg.get("default_hooks") or {}).get("checkpoint") or {}).get("out_dir")
    # The host makes a folder of the work dir's name there.
    there = Path(kept, Path(os.path.normpath(cfg.work_dir)).name) if kept else None
    found = go_on_from(cfg.work_dir, there)
    if found.checkpoint is None and found.passed_over:
        reasons = " ".join(f"{reason[:-1]}." for _, reason in found.passed_over)
        raise FileRefusedError(
            f"{reasons} No other checkpoint is whole: to begin anew leave --resume out, with "
            "another --work-dir."
        )
    if os.environ.get("RANK", "0") == "0":
        for line in found.said():
            print(line, file=sys.stderr, flush=True)
    return found.checkpoint


def how_to_go_on(cfg: Config, began: float) -> str:
    """What a run that was stopped tells its user; `began` in seconds since the epoch."""
    pointer = Path(cfg.work_dir) / "last_checkpoint"
    # An older one is another run's.
    if not pointer.is_file() or (not cfg.get("resume") and pointer.stat().st_mtime < began):
        return "stopped before the first checkpoint; the same command begins anew"
    try:
        noted = printable(read_text(pointer).strip())
    except FileRefusedError as error:
        noted = f"a checkpoint: {pointer}: {error}"
    return f"stopped; the same command with --resume goes on from {noted}"
