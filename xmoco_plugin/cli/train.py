# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Trains the model of a config: mmpretrain's options, and --data-root."""

import argparse
import gc
import time
from pathlib import Path

from mmengine.config import Config
from mmengine.device import get_device
from mmengine.runner import find_latest_checkpoint

from xmoco_plugin.cli import common, console, test
from xmoco_plugin.downstream import prepare
from xmoco_plugin.hooks import ProgressHook


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument(
        "--resume",
        nargs="?",
        const="auto",
        metavar="auto|CHECKPOINT",
        help="go on from this checkpoint, or from the newest in the work dir",
    )
    parser.add_argument(
        "--no-validate", action="store_true", help="train without the validation loop"
    )
    parser.add_argument(
        "--auto-scale-lr",
        action="store_true",
        help="scale the learning rate by actual / original batch size",
    )
    parser.add_argument(
        "--no-persistent-workers",
        action="store_true",
        help="start the dataloaders' workers anew every epoch",
    )
    parser.add_argument(
        "--test-out",
        metavar="FILE",
        help="then test the last checkpoint, in TRAINING/test, and write the metrics (.json, "
        ".yaml or .pkl); default: no test",
    )
    common.add_common_arguments(parser)
    return parser.parse_args()


def merge(cfg: Config, args: argparse.Namespace) -> None:
    """Writes the command line into `cfg`.

    Raises:
        ValueError: An option that this config or this machine cannot follow.
    """
    if args.no_validate:
        cfg.val_cfg = cfg.val_dataloader = cfg.val_evaluator = None
    if args.amp:
        if get_device() == "cpu":
            raise ValueError("--amp needs an accelerator and this machine has none: leave it out.")
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
    if args.no_persistent_workers:
        for loader in common.dataloaders(cfg):
            loader.persistent_workers = False


def main() -> None:
    """Trains."""
    args = parse_args()
    with console.quiet(args.verbose) as state:
        folder = train(args, state)
        if args.test_out is not None:
            gc.collect()  # the training's model and workers are held by cycles
            test.test(test_arguments(args, folder), state)


def test_arguments(args: argparse.Namespace, folder: str) -> argparse.Namespace:
    """What `test` would be told to test the last checkpoint of a training in `folder`.

    Raises:
        FileNotFoundError: There is none.
    """
    last = find_latest_checkpoint(folder)
    if last is None:
        raise FileNotFoundError(f"--test-out: the training has left no checkpoint in {folder}.")
    changed = dict(
        # As the Runner wrote it, with all options in it: a test has no part that some are for.
        config=str(Path(folder, Path(args.config).name)),
        cfg_options=None,
        data_root=None,
        checkpoint=last,
        out=args.test_out,
        work_dir=str(Path(folder, test.SUBFOLDER)),
    )
    return argparse.Namespace(**{**vars(args), **changed})


def train(args: argparse.Namespace, state: console.Quiet | None) -> str:
    """Trains as the command line says; returns the work dir.

    Args:
        args: The options.
        state: What :func:`console.quiet` gave.

    Raises:
        KeyboardInterrupt: With how to go on.
    """
    with console.preparing(state):
        cfg = common.load_config(args.config)
        merge(cfg, args)
        common.check_data(cfg)
        prepare(cfg)
        resume_auto = cfg.get("resume") and cfg.get("load_from") is None
        common.check_checkpoint(
            find_latest_checkpoint(cfg.work_dir) if resume_auto else cfg.get("load_from")
        )
        began = time.time()
        runner = common.build_runner(cfg, state)
    try:
        runner.train()
    except KeyboardInterrupt:
        for hook in runner.hooks:
            if isinstance(hook, ProgressHook):
                hook.close()  # the bar would stand between the log and what follows
        raise KeyboardInterrupt(how_to_go_on(cfg, began)) from None
    return cfg.work_dir


def how_to_go_on(cfg: Config, began: float) -> str:
    """What a run that was stopped tells its user; `began` in seconds since the epoch."""
    pointer = Path(cfg.work_dir) / "last_checkpoint"
    # An older one is another run's.
    if not pointer.is_file() or (not cfg.get("resume") and pointer.stat().st_mtime < began):
        return "stopped before the first checkpoint; the same command begins anew"
    return f"stopped; the same command with --resume goes on from {pointer.read_text().strip()}"
