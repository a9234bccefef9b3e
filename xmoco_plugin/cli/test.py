# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs the test loop of a config on a checkpoint, or its validation loop where it has no other."""

import argparse
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device

from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint, state_dict_of
from xmoco_plugin.cli import common, console, runners
from xmoco_plugin.cli.merging import merge_options
from xmoco_plugin.cli.options.test import SUBFOLDER
from xmoco_plugin.cli.results_file import dump
from xmoco_plugin.distributed import unwrapped
from xmoco_plugin.downstream import prepare
from xmoco_plugin.export import meta_of
from xmoco_plugin.findings import some
from xmoco_plugin.untrusted import printable
from xmoco_plugin.weights import check_named_weights


def merge(cfg: Config, args: argparse.Namespace) -> None:
    """Writes the command line into `cfg`.

    Raises:
        ValueError: The config has nothing to test on, or --amp is given without an accelerator.
    """
    moved = {}
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)  # while every part that one may name is there
    if not cfg.get("test_dataloader"):
        if not cfg.get("val_dataloader"):
            raise ValueError(
                f"{args.config} has neither test_dataloader nor val_dataloader: there is nothing "
                "to test on. Add one, with its cfg and evaluator."
            )
        # As a test, so that hooks which watch a training's validation (save_best) stay out.
        cfg.test_dataloader, cfg.test_evaluator = cfg.val_dataloader, cfg.val_evaluator
        cfg.test_cfg = cfg.val_cfg
        moved = {"val": "test"}
        if "type" in cfg.val_cfg:
            cfg.test_cfg.type = cfg.val_cfg.type.replace("ValLoop", "TestLoop")
    if args.amp:
        if get_device() == "cpu":
            raise ValueError("--amp needs an accelerator and this machine has none: leave it out.")
        cfg.test_cfg.fp16 = True
    cfg.load_from = args.checkpoint
    cfg.resume = False
    # What else the config describes is not built, and its data need not be there.
    for part in ("cfg", "dataloader", "evaluator"):
        cfg[f"val_{part}"] = None
    cfg.train_cfg = cfg.train_dataloader = cfg.optim_wrapper = cfg.param_scheduler = None
    loader_defaults = dict(pin_memory=True, collate_fn=dict(type="default_collate"))
    common.merge_common(cfg, common.for_parts_left(args, cfg, moved), loader_defaults, SUBFOLDER)
    # By the name of one that there is, of a training in this process and second, the host hands out
    # that: its logger, its visualizer.
    cfg.experiment_name = f"{cfg.get('experiment_name') or Path(args.config).stem}_test"
    if cfg.get("visualizer"):
        cfg.visualizer.name = f"{cfg.visualizer.get('name', 'visualizer')}_test"


def check_model(model: Any, path: str) -> None:
    """Checks that a checkpoint is of a whole model: what it lacks would be tested as it was drawn.

    Args:
        model: With all of its parts.
        path: Of the checkpoint; one behind a URL is left to the host.

    Raises:
        CheckpointError: It holds a backbone alone, or nothing of this model.
    """
    if "://" in path:
        return
    loaded = read_checkpoint(path, mmap=True)
    parts = {name.split(".")[0] for name, _ in unwrapped(model).named_parameters()}
    there = {key.split(".")[0] for key in state_dict_of(loaded)}
    lacking = sorted(parts - {"backbone"})
    if not lacking or there & set(lacking):
        return
    name = printable(path)
    if "backbone" in there or "exported_by" in meta_of(loaded):
        raise CheckpointError(
            f"{name} holds a backbone alone, and the model of this config also has "
            f"{' and '.join(lacking)}: judge the backbone with `xmoco evaluate {name}`, or train "
            f"the rest on it with `xmoco train CONFIG --cfg-options pretrained={name}` and test "
            "what that writes."
        )
    raise CheckpointError(
        f"{name} has no weights of this config's model: its keys begin with "
        f"{printable(some(sorted(there)))}, the model's with {some(sorted(parts))}. Name the "
        "config that it was trained with."
    )


def main(args: argparse.Namespace) -> None:
    """Tests."""
    with console.quiet(args.verbose) as state:
        test(args, state)


def test(args: argparse.Namespace, state: console.Quiet | None) -> None:
    """Tests as the command line says; `state` is what :func:`console.quiet` gave."""
    with console.preparing(state):
        cfg = common.load_config(args.config)
        merge(cfg, args)
        common.check_data(cfg)
        prepare(cfg)
        check_named_weights(cfg)
        runner = runners.build_runner(cfg, state)
        check_model(runner.model, args.checkpoint)
    metrics = runner.test()
    runners.end_workers(runner)
    if args.out:
        dump(metrics, args.out)
