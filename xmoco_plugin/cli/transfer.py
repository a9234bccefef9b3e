# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tunes a checkpoint in mmdet or mmseg, tests it, and prints its row of a table."""

import argparse
import copy
import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

from mmengine.config import Config

from xmoco_plugin.checkpoint import sha256_of, write_text
from xmoco_plugin.cli import common, console, data_table, exits, processes
from xmoco_plugin.cli.detector_starts import bring_all
from xmoco_plugin.cli.seen_before import seen_before
from xmoco_plugin.cli.transfer_table import table
from xmoco_plugin.downstream import from_imagenet, from_scratch, prepare, pretrained_starts
from xmoco_plugin.findings import Finding
from xmoco_plugin.pretraining import moved_paths
from xmoco_plugin.untrusted import (
    FileRefusedError,
    printable,
    read_json_object,
    read_settings,
)
from xmoco_plugin.weights import check_named_weights

SCOPES = {"det": "mmdet", "seg": "mmseg"}
METRICS = "metrics.json"  # in a run's folder, once it is tested
AGAIN = "Remove it: the run is tested anew."
# Which settings of a dataset an option names, by task.
PATHS = {
    "images": {"det": "data_prefix.img", "seg": "data_prefix.img_path"},
    "annotations": {"det": "ann_file", "seg": "data_prefix.seg_map_path"},
}


def resolve(
    args: argparse.Namespace, imagenet: bool = False, found: list[Finding] | None = None
) -> Config:
    """Returns the config with every option in it, its data and checkpoint looked at.

    Args:
        args: The options of `options.transfer`.
        imagenet: The checkpoint has torchvision's layout.
        found: Gets what the data hold.

    Raises:
        ValueError: Options that do not go together, or data that training cannot start with.
        FileNotFoundError: A file or folder that is not there.
    """
    cfg = common.load_config(args.config)
    if cfg.get("default_scope") != SCOPES[args.task]:
        raise ValueError(
            f"{args.config} is not for {args.task}: its default_scope is "
            f"{cfg.get('default_scope')!r}, not {SCOPES[args.task]!r}."
        )
    if args.checkpoint == "scratch":
        from_scratch(cfg)
    elif not pretrained_starts(cfg):
        raise ValueError(
            f"{args.config} starts from random weights and would never read {args.checkpoint}: "
            "take the config without _scratch in its name."
        )
    else:
        if imagenet:
            from_imagenet(cfg)
        cfg.pretrained = os.path.abspath(os.path.expanduser(args.checkpoint))
    if args.max_iters is not None:
        stretch(cfg, args.max_iters)
    options = dict(args.cfg_options or {})
    for stage in ("train", "val"):
        for kind, setting in PATHS.items():
            value = getattr(args, f"{stage}_{kind}")
            for loader in {"train": ("train",), "val": ("val", "test")}[stage] if value else ():
                options[f"{loader}_dataloader.dataset.{setting[args.task]}"] = os.path.abspath(
                    os.path.join(args.data_root or "", value)
                )
    common.merge_common(
        cfg,
        argparse.Namespace(
            local_rank=int(os.environ.get("LOCAL_RANK", 0)),
            launcher="none",
            work_dir=args.work_dir,
            config=args.config,
            data_root=args.data_root and os.path.abspath(args.data_root),
            cfg_options=options or None,
            no_pin_memory=False,
        ),
        {},
    )
    common.check_data(cfg)
    rows = prepare(cfg)
    if found is not None:
        found += rows
    check_named_weights(cfg)
    return cfg


def stretch(cfg: Config, iters: int) -> None:
    """Makes the training `iters` iterations long and its schedule as much longer or shorter.

    Raises:
        ValueError: The config counts epochs.
    """
    old = cfg.train_cfg.get("max_iters")
    if old is None:
        epochs = cfg.train_cfg.get("max_epochs")
        raise ValueError(
            f"--max-iters {iters}: this config counts epochs ({epochs}): set them with "
            "--cfg-options train_cfg.max_epochs=N, or take a config that counts iterations."
        )
    if iters < 1:
        raise ValueError(f"--max-iters {iters}: a number above 0.")
    cfg.train_cfg.max_iters = cfg.train_cfg.val_interval = iters
    cfg.default_hooks.checkpoint.interval = iters
    hooks = [hook for hook in cfg.get("custom_hooks") or [] if hook.get("interval") == old]
    for part in [*cfg.param_scheduler, *hooks]:
        for key in ("begin", "end", "T_max", "interval"):
            if part.get(key):
                part[key] = max(1, round(part[key] * iters / old))
        if part.get("begin") and part.get("end"):
            part.end = max(part.end, part.begin + 1)
        if "milestones" in part:
            part.milestones = [round(m * iters / old) for m in part.milestones]


def config_of_run(cfg: Config, folder: Path, seed: int, root: Path | None = None) -> Config:
    """Returns the config of one seed's run in `folder`, from the config of all seeds.

    Args:
        cfg: Of all seeds.
        folder: Of the run.
        seed: Of it.
        root: Folder of all runs, which may have been moved; that of `folder` by default.

    Raises:
        ValueError: The folder holds a run with other settings.
    """
    cfg = copy.deepcopy(cfg)
    cfg.work_dir = str(folder)
    cfg.randomness = {**cfg.get("randomness", {}), "seed": seed}
    # Beside the folder: in it the runner writes its own, fuller version of the config it is given.
    config = folder.with_suffix(".py")
    if config.exists() and not _same(config.read_text(), cfg, folder, root or folder.parent):
        raise ValueError(
            f"{folder} holds a run with other settings (see {config}). Choose another --work-dir, "
            "or remove it."
        )
    return cfg


def _same(text: str, cfg: Config, folder: Path, root: Path) -> bool:
    """Whether a run's config, which may have been written where the runs lay before, is `cfg`."""
    if text == cfg.pretty_text:
        return True
    old, new = read_settings(text), read_settings(cfg.pretty_text)
    was, tail = str(old.get("work_dir")), f"/{folder.relative_to(root)}"
    if not was.endswith(tail):
        return False
    before = was[: -len(tail)]
    pairs = [(os.path.abspath(before), os.path.abspath(root)), (before, str(root))]
    return moved_paths(old, pairs) == new


def run_seed(
    cfg: Config,
    folder: Path,
    seed: int,
    gpus: int,
    extra: list[str],
    root: Path | None = None,
) -> dict:
    """Trains and tests with one seed, or reads what an equal run has left; returns its metrics.

    Raises:
        ValueError: The folder holds a run with other settings, or metrics that are none.
        SystemExit: Training or testing ended with an error, which they have printed.
    """
    cfg = config_of_run(cfg, folder, seed, root)
    config, metrics = folder.with_suffix(".py"), folder / METRICS
    if not metrics.exists():
        folder.mkdir(parents=True, exist_ok=True)
        write_text(config, cfg.pretty_text)
        _run("train", [str(config), "--test-out", str(metrics)], gpus, extra)
    return read_metrics(metrics)


def read_metrics(file: Path) -> dict[str, float]:
    """What a test has written; empty where it found nothing.

    Raises:
        ValueError: It cannot be read, or is something else than numbers by name.
    """
    try:
        metrics = read_json_object(file, finite=False)
    except FileRefusedError as error:
        raise ValueError(f"{printable(file)}: {error}. {AGAIN}") from None
    for name, value in metrics.items():
        if not isinstance(value, (int, float)):
            raise ValueError(f"{printable(file)}: {printable(name)} is no number. {AGAIN}")
    return metrics


def _run(tool: str, arguments: list[str], gpus: int, extra: list[str]) -> None:
    command = processes.command(tool, [*arguments, *extra], gpus)
    environment = {**os.environ, exits.PARENT: "transfer.py"}
    status = subprocess.run(command, env=environment).returncode
    if status:
        raise SystemExit(status)


def usual_root(config: str, start: str, cfg: Config, seeds: Iterable[int]) -> Path:
    """The folder of a config's runs from a start, where none is named.

    From scratch, a config out of the folder of a pretraining has its own: other pretrainings have
    a file of that name too. A folder without the pretraining's name that such runs are in already
    is gone on with.

    Args:
        config: The file, as it was named.
        start: 'scratch', or the hash of the weights.
        cfg: Of all seeds.
        seeds: That are asked for.
    """
    file = Path(config)
    usual = Path("work_dirs", "transfer", file.stem, start)
    folder = file.expanduser().resolve().parent
    if start != "scratch" or not (folder / "options.json").is_file():
        return usual
    begun = [seed for seed in seeds if (usual / f"seed_{seed}.py").exists()]
    try:
        for seed in begun:
            config_of_run(cfg, usual / f"seed_{seed}", seed)
    except ValueError:  # of another pretraining
        begun = []
    if begun:
        return usual
    digest = hashlib.sha256(str(folder).encode()).hexdigest()[:8]
    return usual.with_name(f"{start}_{folder.name}_{digest}")


def main(args: argparse.Namespace) -> None:
    """Fine-tunes, tests, prints."""
    with console.quiet("--verbose" in args.extra):
        found: list[Finding] = []
        cfg = resolve(args, found=found)
    found += seen_before([args.checkpoint], cfg, args.data_root)
    stem = Path(args.config).stem
    digest = "-" if args.checkpoint == "scratch" else sha256_of(cfg.pretrained)[:8]
    start = "scratch" if args.checkpoint == "scratch" else digest
    root = Path(args.work_dir or usual_root(args.config, start, cfg, args.seeds))
    data_table.show(found, root)
    bring_all([cfg], root, args.prefix)
    runs = {s: run_seed(cfg, root / f"seed_{s}", s, args.gpus, args.extra) for s in args.seeds}
    label = "scratch" if args.checkpoint == "scratch" else Path(args.checkpoint).name
    text = table(args.task, label, digest, stem, runs, cfg)
    write_text(root / "table.md", text + "\n")
    print(f"\n{text}", flush=True)
