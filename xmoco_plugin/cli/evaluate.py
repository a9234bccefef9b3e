# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Judges a checkpoint's backbone by several protocols, from features that are extracted once."""

import argparse
import hashlib
import json
import os
import platform
import sys
import time
from dataclasses import asdict, fields
from functools import partial
from pathlib import Path
from typing import Any

import mmengine
import torch
from mmengine.config import Config, ConfigDict
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from xmoco_plugin.checkpoint import sha256_of, write_text
from xmoco_plugin.cli import backbones, common, doubts
from xmoco_plugin.cli.earlier import refuse_other
from xmoco_plugin.cli.results_file import dump
from xmoco_plugin.data import (
    NpzImages,
    channel_reading,
    labelled_sets,
    limit_pixels,
    read_channels,
)
from xmoco_plugin.data.labelled_sets import set_bit_depth, training_bit_depth
from xmoco_plugin.evaluation.features import (
    ModelEmbedder,
    collect_features,
    evaluation_mode,
    refuse_nonfinite,
    targets_of,
)
from xmoco_plugin.evaluation.protocols import (
    PROTOCOLS,
    LabelledSets,
    Settings,
    check_neighbours,
    check_sets,
)
from xmoco_plugin.evaluation.same_classes import classes_of, unlike_classes
from xmoco_plugin.untrusted import check_run_reads, check_run_settings, guard_reading, printable
from xmoco_plugin.version import __version__


def chosen_size(args: argparse.Namespace, cfg: Config) -> tuple[int, str]:
    """Side of the crops in pixels, and why."""
    if not args.data:
        return 0, "as the config's kNN loop makes them (--image-size is for --data)"
    folder = Path(args.data).expanduser()
    if all((folder / f"{split}.npz").is_file() for split in ("train", "test")):
        shape = NpzImages(data_root=str(folder), split="train").get_data_info(0)["img_shape"]
        return args.image_size or min(shape), "the arrays' own"
    return backbones.image_size(args, cfg)


def dataset_configs(
    args: argparse.Namespace, cfg: Config, size: int
) -> tuple[dict, dict, dict | None]:
    """Training, test and augmented training set; crops of files have ``size`` pixels.

    Raises:
        ValueError: neither --data nor a kNN loop in the config; --augment without --data.
        FileNotFoundError: no labelled set in --data.
        SettingsRefusedError: the sets of the checkpoint's own config are not read.
    """
    if args.data:
        sets = labelled_sets(args.data, size)
        set_bit_depth(list(sets), training_bit_depth(cfg))
        read_channels(list(sets) if args.augment else list(sets[:2]), channel_reading(cfg))
        return sets
    bank = (cfg.get("val_cfg") or {}).get("bank_dataloader")
    if not bank or not cfg.get("val_dataloader"):
        raise ValueError("name a labelled folder with --data: the config has no kNN loop to take")
    if args.augment:
        raise ValueError("--augment needs --data, whose random crops are known")
    if not args.config:  # the checkpoint's, hence a stranger's
        parts = {"val_dataloader": cfg.val_dataloader.to_dict(), "val_cfg": cfg.val_cfg.to_dict()}
        checked = Config(check_run_settings(parts, args.checkpoint))
        check_run_reads(checked.to_dict())
        bank, cfg.val_dataloader = checked.val_cfg.bank_dataloader, checked.val_dataloader
        for data in (bank.dataset, cfg.val_dataloader.dataset):
            if common._parameter(data, "download") is not None:
                data.download = False  # into a folder of the settings' choice
    for data in (bank.dataset, cfg.val_dataloader.dataset):
        if args.data_root:
            data.data_root = args.data_root
    common.check_data(Config(dict(val_dataloader=cfg.val_dataloader, test_dataloader=bank)))
    return bank.dataset, cfg.val_dataloader.dataset, None


def build_loader(dataset: dict, args: argparse.Namespace, seed: int = 0) -> Any:
    """A loader that visits every image once; its worker w draws from seed + w at every start.

    Raises:
        ValueError: the set is empty.
    """
    loader = dict(
        batch_size=args.batch_size,
        num_workers=args.workers,
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="pseudo_collate"),
        dataset=dataset,
    )
    config = ConfigDict(loader)
    guard_reading(config)
    limit_pixels(config, args.max_pixels)
    try:
        return Runner.build_dataloader(config, seed=seed)
    except RuntimeError as error:
        if "Found 0 files" not in str(error):
            raise
        raise ValueError(f"{dataset['data_root']}: no image in any folder of it") from error


def load(args: argparse.Namespace, cfg: Config, settings: Settings) -> tuple[dict, dict, int | str]:
    """Loaders by name, what is known of their sets, and the side of the images, in pixels.

    Raises:
        ValueError: training and test set have other classes, or fewer images than a named k.
    """
    size, why = chosen_size(args, cfg)
    train, test, augmented = dataset_configs(args, cfg, size)
    loaders = {name: build_loader(data, args) for name, data in (("train", train), ("test", test))}
    sets = [loader.dataset for loader in loaders.values()]
    classes = classes_of(sets[0])
    if unlike := unlike_classes(*sets):
        raise ValueError(f"training and test set differ in their classes: {printable(unlike)}")
    counts = {"train": len(sets[0]), "test": len(sets[1]), "classes": len(classes)}
    check_neighbours(args.protocol, settings, counts["train"], counts["test"])
    # Arrays and a config's pipeline have sides of their own: what the backbone sees is recorded.
    height, width = sets[0][0]["inputs"].shape[-2:] if counts["train"] else (size, size)
    side = height if height == width else f"{height}x{width}"
    print(f"image size {side} px: {why}", file=sys.stderr, flush=True)
    if augmented and "linear-fast" in args.protocol:
        # A loader each: one that starts again gives its workers the same seeds, hence crops, again.
        for i in range(args.augment):
            name = f"train, augmented pass {i + 1} of {args.augment}"
            loaders[name] = build_loader(augmented, args, seed=1 + i * max(args.workers, 1))
    return loaders, counts, side


def extract(model: Any, loaders: dict, classes: int) -> LabelledSets:
    """Features of every loader's images.

    Raises:
        ValueError: Some are not finite.
    """
    embed = ModelEmbedder(model, unit=False)
    several = type(loaders["train"].dataset).__name__ == "VOC"
    read = partial(targets_of, num_classes=classes) if several else None
    with evaluation_mode(model):
        train, test, *passes = (
            collect_features(loader, embed, name=name, show_progress=True, read=read)
            for name, loader in loaders.items()
        )
    for found, loader in ((train, loaders["train"]), (test, loaders["test"])):
        refuse_nonfinite(found.features, "images", partial(name_of, loader.dataset, found.places))
    crops = torch.stack([features.features for features in passes]) if passes else None
    if crops is not None:
        refuse_nonfinite(crops, "random crops")
    return LabelledSets(train, test, crops)


def name_of(dataset: Any, places: torch.Tensor, row: int) -> str:
    """The file of a row of features, or its place in the set."""
    place = int(places[row])
    try:
        return str(dataset.get_data_info(place)["img_path"])
    except (AttributeError, KeyError, TypeError):
        return f"image {place}"


def settings_of(args: argparse.Namespace, settings: Settings) -> dict:
    """What decides the figures, beside the checkpoint and the images: as JSON reads it back."""
    folder = args.data or args.data_root
    where = hashlib.sha256(os.path.abspath(folder or "").encode()).hexdigest() if folder else None
    decisive = {k: v for k, v in asdict(settings).items() if k not in ("jobs", "show")}
    options = {"protocol": args.protocol, "augment": args.augment, **decisive}
    # Of the folder only that it is the same: the file may be handed on.
    options |= {"config": args.config and Path(args.config).name, "cfg_options": args.cfg_options}
    options["data folder (SHA-256 of its path)"] = where
    return json.loads(mmengine.dump(options, file_format="json"))


def environment() -> dict[str, str]:
    """What the figures were made with."""
    cuda = torch.cuda.is_available()
    return {
        "xmoco_plugin": __version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "mmengine": mmengine.__version__,
        "device": torch.cuda.get_device_name() if cuda else f"CPU, {os.cpu_count()} cores",
        "threads": str(torch.get_num_threads()),
    }


def markdown(facts: dict, rows: list[dict], largest: float = 0.0) -> str:
    """The table and what it was made with; `largest` is the share of the largest class, in %."""
    lines = ["| protocol | setting | metric | % | minutes |", "| --- | --- | --- | --- | --- |"]
    told = []
    for row in rows:
        why = doubts.of_accuracy(row["percent"] or 0.0, largest) if row["metric"] == "top1" else ""
        told.append((f"{row['protocol']}, {row['setting']}", why))
        percent = "" if row["percent"] is None else f"{row['percent']:.2f}"
        if row["std"] is not None:
            percent += f" ± {row['std']:.2f}"
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.2f}"
        percent = doubts.marked(percent, bool(why))
        cells = [row["protocol"], row["setting"], row["metric"], percent, minutes]
        lines.append(f"| {' | '.join(cells)} |")
    made = [
        f"{key} {value}"
        for key, value in {**facts, **facts["environment"]}.items()
        if key not in ("environment", "settings")
    ]
    return "\n".join(lines) + doubts.notes(told) + "\n\n" + "; ".join(made) + "."


def main(args: argparse.Namespace) -> None:
    """Judges."""
    common.check_checkpoint(args.checkpoint)
    cfg = backbones.load_config(args)
    init_default_scope("mmpretrain")
    start = time.perf_counter()
    named = {f.name: getattr(args, f.name) for f in fields(Settings) if hasattr(args, f.name)}
    settings = Settings(**named, show=True)
    loaders, counts, size = load(args, cfg, settings)
    digest = sha256_of(args.checkpoint)
    facts = {
        "checkpoint": printable(Path(args.checkpoint).name),
        "sha256": digest,
        "data": printable(Path(args.data or args.data_root or "of the config").resolve().name),
        "image_size": size,
        **counts,
        "settings": settings_of(args, settings),
        "environment": environment(),
    }
    data = facts["data"].replace(" ", "-").replace("\\", "_")
    usual = f"{Path(args.checkpoint).stem}-{digest[:8]}/{data}-{size}px"
    out = Path(args.out or f"work_dirs/evaluate/{usual}")
    refuse_other(out, facts)
    model = backbones.build(cfg, args.checkpoint, args.prefix)
    sets = extract(model, loaders, counts["classes"])
    check_sets(sets)
    out.mkdir(parents=True, exist_ok=True)
    dim = sets.train.features.shape[1]
    labels = sets.test.labels
    largest = 0.0 if labels.ndim > 1 else 100 * float(labels.bincount().max()) / len(labels)
    rows = [row("features", f"{dim} dimensions", minutes=minutes_since(start))]
    for name in args.protocol:
        since = time.perf_counter()
        scores = PROTOCOLS[name](sets, settings)
        minutes = minutes_since(since)
        print(f"{name}: {minutes:.2f} minutes", file=sys.stderr, flush=True)
        rows += [row(*s, minutes=None if i else minutes) for i, s in enumerate(scores)]
        # After each, so that a long one that is stopped costs its own figures only.
        dump({**facts, "results": rows}, out / "evaluation.json", indent=1)
        write_text(out / "evaluation.md", markdown(facts, rows, largest) + "\n")
    print(f"{markdown(facts, rows, largest)}\n\nwritten to {out}", flush=True)


def row(
    protocol: str,
    setting: str,
    metric: str = "",
    percent: float | None = None,
    std: float | None = None,
    minutes: float | None = None,
) -> dict:
    """A row of the table; a protocol's minutes stand in its first."""
    return {
        "protocol": protocol,
        "setting": setting,
        "metric": metric,
        "percent": percent,
        "std": std,
        "minutes": minutes,
    }


def minutes_since(start: float) -> float:
    """Minutes since a reading of the performance counter."""
    return round((time.perf_counter() - start) / 60, 3)
