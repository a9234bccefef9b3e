# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Judges a checkpoint's backbone by weighted kNN, with the loop that the config trains with."""

import argparse
import time

from mmengine.config import Config
from mmengine.dist import is_main_process

from xmoco_plugin.cli import backbones, common, console, runners
from xmoco_plugin.cli.merging import merge_options
from xmoco_plugin.cli.options.eval_knn import SUBFOLDER
from xmoco_plugin.cli.results_file import dump
from xmoco_plugin.evaluation.knn_val_loop import KNNValLoop, setting_name

LOOPS = {"val": "KNNValLoop", "test": "KNNTestLoop"}


def merge(cfg: Config, args: argparse.Namespace) -> str:
    """Writes the command line into `cfg`; returns the stage, val or test, that runs.

    Raises:
        ValueError: the config has no kNN loop.
    """
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)  # while every part that one may name is there
    kinds = {stage: (cfg.get(f"{stage}_cfg") or {}).get("type") for stage in LOOPS}
    stage = next((s for s in LOOPS if str(kinds[s]).split(".")[-1] == LOOPS[s]), "")
    if not stage:
        raise ValueError(
            f"{args.config} has no kNN loop (val_cfg.type is {kinds['val']}): give it val_cfg="
            "dict(type='KNNValLoop', bank_dataloader=...), with labelled images in there and in "
            "val_dataloader, and val_evaluator=dict(type='Accuracy')"
        )
    loop = cfg[f"{stage}_cfg"]
    if args.k is not None:
        loop.k = args.k
    if args.temperature is not None:
        loop.temperature = args.temperature
    if args.amp:
        loop.fp16 = True
    # Only the loop that runs is built; the hooks of a training have nothing to do here.
    for other in {"train", "val", "test"} - {stage}:
        for part in ("cfg", "dataloader", "evaluator"):
            cfg[f"{other}_{part}"] = None
    cfg.optim_wrapper = cfg.param_scheduler = cfg.auto_scale_lr = cfg.load_from = None
    cfg.custom_hooks, cfg.resume = [], False
    # Its save_best dies after a validation outside training (docs/dev/hosts.md).
    cfg.default_hooks = {**cfg.get("default_hooks", {}), "checkpoint": None}
    loader_defaults = dict(pin_memory=True, collate_fn=dict(type="default_collate"))
    common.merge_common(cfg, common.for_parts_left(args, cfg), loader_defaults, SUBFOLDER)
    return stage


def results(loop: KNNValLoop, metrics: dict) -> list[dict]:
    """The loop's metrics, one entry for each k and temperature."""
    first, *others = loop.settings
    names = {first: ""} | {setting: f"{setting_name(*setting)}/" for setting in others}
    plain = [name for name in metrics if not name.startswith(tuple(filter(None, names.values())))]
    return [
        {"k": k, "temperature": t, **{name: metrics[names[k, t] + name] for name in plain}}
        for k, t in loop.settings
    ]


def print_table(rows: list[dict]) -> None:
    """Prints one line for each k and temperature."""
    cells = [list(rows[0])] + [
        [f"{value:.2f}" if "/" in name else str(value) for name, value in row.items()]
        for row in rows
    ]
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    for line in cells:
        print("  ".join(cell.rjust(width) for cell, width in zip(line, widths, strict=True)))


def main(args: argparse.Namespace) -> None:
    """Judges."""
    with console.quiet(args.verbose) as state:
        judge(args, state)


def judge(args: argparse.Namespace, state: console.Quiet | None) -> None:
    """Judges as the command line says; `state` is what :func:`console.quiet` gave."""
    with console.preparing(state):
        cfg = common.load_config(args.config)
        stage = merge(cfg, args)
        common.check_data(cfg)
        common.check_checkpoint(args.checkpoint)
        runner = runners.build_runner(cfg, state, show_figures=False)
        backbones.load_backbone(runner.model, args.checkpoint, args.prefix)
    start = time.perf_counter()
    metrics = runner.val() if stage == "val" else runner.test()
    seconds = time.perf_counter() - start
    runners.end_workers(runner)
    if not is_main_process():
        return
    loop = runner.val_loop if stage == "val" else runner.test_loop
    rows = results(loop, metrics)
    images = {"bank": len(loop.bank_loader.dataset), "queries": len(loop.dataloader.dataset)}
    print(f"kNN of {args.checkpoint}: {images['queries']} queries, bank of {images['bank']}")
    print_table(rows)
    if args.out:
        facts = {"config": args.config, "checkpoint": args.checkpoint, "seconds": seconds}
        dump({**facts, **images, "results": rows}, args.out, indent=1)
