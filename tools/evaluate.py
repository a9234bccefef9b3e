# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Judges a checkpoint's backbone by several protocols, from features that are extracted once."""

import argparse
import os
import platform
import sys
import time
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import Any

import backbones
import common
import mmengine
import torch
from mmengine.config import Config, ConfigDict, DictAction
from mmengine.registry import init_default_scope
from mmengine.runner import Runner

from xmoco_plugin.checkpoint import sha256_of
from xmoco_plugin.data import labelled_sets
from xmoco_plugin.evaluation.average_precision import RULES
from xmoco_plugin.evaluation.features import (
    LabelledFeatures,
    ModelEmbedder,
    collect_features,
    evaluation_mode,
    targets_of,
)
from xmoco_plugin.evaluation.protocols import (
    PROTOCOLS,
    LabelledSets,
    Settings,
    check_neighbours,
    check_sets,
)
from xmoco_plugin.version import __version__


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    add = parser.add_argument
    add("checkpoint", help="checkpoint file of a pretraining")
    add("--config", help="config with its model; default: the one inside the checkpoint")
    add("--protocol", type=protocols, default=["knn", "linear-fast", "retrieval"], metavar="A,B")
    add("--data", help="labelled folder; default: the sets of the config's kNN loop")
    add("--data-root", help="folder of the config's sets, without --data")
    add(
        "--image-size", type=int, default=224, help="side that files are cropped to, or arrays have"
    )
    add(
        "--augment", type=int, default=0, help="passes with random crops and flips, for linear-fast"
    )
    add("--out", help="folder of the table; default: work_dirs/evaluate/CHECKPOINT-HASH")
    add("--batch-size", type=int, default=256)
    add("--workers", type=int, default=min(8, os.cpu_count() or 1), help="loader processes")
    add("--jobs", type=int, default=os.cpu_count() or 1, help="threads of the SVMs")
    several = partial(add, nargs="+", default=argparse.SUPPRESS)
    several("--k", dest="ks", type=int, help="neighbours; several cost hardly more than one")
    several(
        "--temperature", dest="temperatures", type=backbones.temperature, help='a number, or "none"'
    )
    several("--lr", dest="lrs", type=float, help="learning rates of the linear heads")
    several("--weight-decay", dest="weight_decays", type=float, help="of the linear heads")
    several("--costs", type=float, help="C of the SVMs; default: the 26 of FAIR's benchmark")
    several("--shots", type=int, help="images a class of the low-shot SVMs")
    several("--recall", dest="recalls", type=int, help="k of recall@k")
    add("--epochs", type=int, default=100, help="of the linear heads")
    add("--rule", choices=RULES, default="area", help="of average precision")
    add("--cfg-options", nargs="+", action=DictAction, help="override settings: key=value")
    args = parser.parse_args()
    if args.image_size < 1 or args.augment < 0 or args.epochs < 1:
        parser.error("--image-size and --epochs start at 1, --augment at 0")
    return args


def protocols(text: str) -> list[str]:
    """The protocols that 'knn,svm' names."""
    names = text.split(",")
    unknown = [name for name in names if name not in PROTOCOLS]
    if unknown:
        raise argparse.ArgumentTypeError(f"{', '.join(unknown)}: choose from {','.join(PROTOCOLS)}")
    return names


def dataset_configs(args: argparse.Namespace, cfg: Config) -> tuple[dict, dict, dict | None]:
    """Training, test and augmented training set.

    Raises:
        ValueError: neither --data nor a kNN loop in the config; --augment without --data.
        FileNotFoundError: no labelled set in --data.
    """
    if args.data:
        return labelled_sets(args.data, args.image_size)
    bank = (cfg.get("val_cfg") or {}).get("bank_dataloader")
    if not bank or not cfg.get("val_dataloader"):
        raise ValueError("name a labelled folder with --data: the config has no kNN loop to take")
    if args.augment:
        raise ValueError("--augment needs --data, whose random crops are known")
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
    try:
        return Runner.build_dataloader(ConfigDict(loader), seed=seed)
    except RuntimeError as error:
        if "Found 0 files" not in str(error):
            raise
        raise ValueError(f"{dataset['data_root']}: no image in any folder of it") from error


def extract(args: argparse.Namespace, cfg: Config, settings: Settings) -> tuple[LabelledSets, dict]:
    """Features of both sets, and what is known about them.

    Raises:
        ValueError: training and test set have other classes, or fewer images than a named k.
    """
    train, test, augmented = dataset_configs(args, cfg)
    model = backbones.build(cfg, args.checkpoint)
    embed = ModelEmbedder(model, unit=False)
    loaders = [build_loader(dataset, args) for dataset in (train, test)]
    train_classes, test_classes = (
        tuple(loader.dataset.metainfo.get("classes") or ()) for loader in loaders
    )
    if train_classes != test_classes:
        odd = sorted(set(train_classes) ^ set(test_classes))
        raise ValueError(f"training and test set differ in their classes: {', '.join(odd[:10])}")
    check_neighbours(args.protocol, settings, *(len(loader.dataset) for loader in loaders))
    several = type(loaders[0].dataset).__name__ == "VOC"
    read = partial(targets_of, num_classes=len(train_classes)) if several else None

    def features(loader: Any, name: str) -> LabelledFeatures:
        with evaluation_mode(model):
            return collect_features(loader, embed, name=name, show_progress=True, read=read)

    sets = [features(*pair) for pair in zip(loaders, ("train", "test"), strict=True)]
    passes = None
    if augmented and args.augment and "linear-fast" in args.protocol:
        # A loader each: one that starts again gives its workers the same seeds, hence crops, again.
        loaders = [
            build_loader(augmented, args, seed=1 + i * max(args.workers, 1))
            for i in range(args.augment)
        ]
        names = [f"train, augmented pass {i + 1} of {args.augment}" for i in range(args.augment)]
        passes = torch.stack(
            [features(*pair).features for pair in zip(loaders, names, strict=True)]
        )
    counts = {"train": len(sets[0].features), "test": len(sets[1].features)}
    return LabelledSets(sets[0], sets[1], passes), {**counts, "classes": len(train_classes)}


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


def markdown(facts: dict, rows: list[dict]) -> str:
    """The table and what it was made with."""
    lines = ["| protocol | setting | metric | % | minutes |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        percent = "" if row["percent"] is None else f"{row['percent']:.2f}"
        if row["std"] is not None:
            percent += f" ± {row['std']:.2f}"
        minutes = "" if row["minutes"] is None else f"{row['minutes']:.2f}"
        cells = [row["protocol"], row["setting"], row["metric"], percent, minutes]
        lines.append(f"| {' | '.join(cells)} |")
    made = [
        f"{key} {value}"
        for key, value in {**facts, **facts["environment"]}.items()
        if key != "environment"
    ]
    return "\n".join([*lines, "", "; ".join(made) + "."])


def main() -> None:
    """Judges."""
    args = parse_args()
    common.check_checkpoint(args.checkpoint)
    cfg = backbones.load_config(args)
    init_default_scope("mmpretrain")
    start = time.perf_counter()
    named = {f.name: getattr(args, f.name) for f in fields(Settings) if hasattr(args, f.name)}
    settings = Settings(**named, show=True)
    sets, counts = extract(args, cfg, settings)
    check_sets(sets)
    digest = sha256_of(args.checkpoint)
    facts = {
        "checkpoint": Path(args.checkpoint).name,
        "sha256": digest,
        "data": Path(args.data or args.data_root or "of the config").name,
        **counts,
        "environment": environment(),
    }
    out = Path(args.out or f"work_dirs/evaluate/{Path(args.checkpoint).stem}-{digest[:8]}")
    out.mkdir(parents=True, exist_ok=True)
    dim = sets.train.features.shape[1]
    rows = [row("features", f"{dim} dimensions", minutes=minutes_since(start))]
    for name in args.protocol:
        since = time.perf_counter()
        scores = PROTOCOLS[name](sets, settings)
        minutes = minutes_since(since)
        print(f"{name}: {minutes:.2f} minutes", file=sys.stderr, flush=True)
        rows += [row(*s, minutes=None if i else minutes) for i, s in enumerate(scores)]
        # After each, so that a long one that is stopped costs its own figures only.
        mmengine.dump({**facts, "results": rows}, out / "evaluation.json", indent=1)
        (out / "evaluation.md").write_text(markdown(facts, rows) + "\n")
    print(f"{markdown(facts, rows)}\n\nwritten to {out}", flush=True)


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


if __name__ == "__main__":
    sys.exit(common.run(main))
