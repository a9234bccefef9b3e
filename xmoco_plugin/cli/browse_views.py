# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Saves pairs of views step by step, and says of each transform how often it changes an image."""

import argparse
import re
import sys
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli import common
from xmoco_plugin.data.transform_audit import (
    WatchedTransform,
    count_changes,
    is_multi_view,
    watch_transforms,
)
from xmoco_plugin.downstream import leaf_datasets
from xmoco_plugin.untrusted import guard_reading, printable
from xmoco_plugin.views import build_recipes, recipe_steps
from xmoco_plugin.visualization import choose_images, fixed_randomness
from xmoco_plugin.visualization.view_steps import Step, save_steps

OURS = re.compile(r"views_\d{2,}\.png")  # pictures that this tool makes


class Views(NamedTuple):
    """How a config makes its views.

    Attributes:
        loading: Transforms before them.
        pipelines: Of each kind of view: configs of transforms, or the steps of a recipe.
        counts: How many views there are of each kind.
    """

    loading: list[dict]
    pipelines: list[list]
    counts: list[int]


def views_of(cfg: Config) -> Views:
    """The views of a training: of MultiView, of TwoViews, or of TwoViewDataPreprocessor.

    Raises:
        ValueError: It makes no views.
    """
    data = next(iter(leaf_datasets(cfg.train_dataloader.dataset)))
    pipeline = list(data.get("pipeline") or ())
    names = [str(step.get("type")).split(".")[-1] for step in pipeline]
    for place, step in enumerate(pipeline):
        if is_multi_view(step):
            counts = step["num_views"]
            counts = [counts] if isinstance(counts, int) else list(counts)
            return Views(pipeline[:place], step["transforms"], counts)
        if names[place] == "TwoViews":
            return _of_recipes(pipeline[:place], step.get("views", "mocov2"))
    for part in (cfg.get("data_preprocessor"), cfg.model.get("data_preprocessor")):
        if part and str(part.get("type")).split(".")[-1] == "TwoViewDataPreprocessor":
            end = next((i for i, name in enumerate(names) if name.startswith("Pack")), None)
            loading = [{k: v for k, v in s.items() if k != "defer_jpegs"} for s in pipeline[:end]]
            return _of_recipes(loading, part.get("views", "mocov2"))
    raise ValueError(
        "the training pipeline makes no pairs of views: it has no MultiView and no TwoViews, but "
        f"{', '.join(names) or 'nothing'}, and no TwoViewDataPreprocessor makes them"
    )


def _of_recipes(loading: list[dict], views: Any) -> Views:
    first, second = build_recipes(views)
    if first == second:
        return Views(loading, [recipe_steps(first)], [2])
    return Views(loading, [recipe_steps(first), recipe_steps(second)], [1, 1])


def load_images(cfg: Config, loading: list[dict], number: int) -> list[dict]:
    """Samples as they reach the views."""
    for data in leaf_datasets(cfg.train_dataloader.dataset):
        data.pipeline = loading
    guard_reading(cfg.train_dataloader)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    samples = [dataset[i] for i in choose_images(dataset, number, classes=number)[0]]
    for path, reason in {fault for sample in samples for fault in sample.pop("skipped", ())}:
        print(f"left out: {printable(path)}: {reason}", file=sys.stderr)
    return samples


def describe(step: WatchedTransform) -> str:
    """A transform with its parameters in one line."""
    return " ".join(repr(step.transform).split())


def table(views: list[list[WatchedTransform]], runs: int) -> str:
    """A line for each transform of each kind of view."""
    lines = [f"{'stated':>7}  {'changed':>7}  transform ({runs} runs)"]
    for number, steps in enumerate(views, 1):
        lines.append(f"view pipeline {number}:")
        for step in steps:
            share = f"{step.stated:7.1%}  {step.changes / runs:7.1%}"
            wrong = "" if step.keeps_its_word(runs) else "  <- NOT AS STATED"
            inside = step.name.rpartition(" > ")[0]
            lines.append(f"{share}  {inside and inside + ' > '}{describe(step)}{wrong}")
    return "\n".join(lines)


def follow(view: list, sample: dict) -> list[Step]:
    """One image through one view's pipeline."""
    pipeline, steps = watch_transforms(view)
    rows = [Step("as loaded", sample["img"])]
    pipeline({**sample, "img": sample["img"].copy()})
    for step in steps:
        called = "changed" if step.changed else "NO CHANGE"
        rows.append(Step(step.name, step.image, "passed over" if step.image is None else called))
    return rows


def main(args: argparse.Namespace) -> None:
    """Browses."""
    cfg = common.load_config(args.config)
    if args.data_root is not None:
        common.set_data_root(cfg, args.data_root, args.config)
    common.check_data(cfg)
    out = Path(args.out)
    with DefaultScope.overwrite_default_scope("mmpretrain"), fixed_randomness(args.seed):
        loading, views, counts = views_of(cfg)
        samples = load_images(cfg, loading, args.number)
        images = [np.ascontiguousarray(sample["img"]) for sample in samples]
        text = table([count_changes(view, images, args.runs) for view in views], args.runs)
        out.mkdir(parents=True, exist_ok=True)
        for old in out.iterdir():  # an earlier call's would look like this one's
            if OURS.fullmatch(old.name):
                old.unlink()
        for i, sample in enumerate(samples):
            rows = [
                follow(view, sample)
                for view, count in zip(views, counts, strict=True)
                for _ in range(count)
            ]
            title = printable(str(sample.get("img_path", f"image {i}")))
            save_steps(rows, title, str(out / f"views_{i:02d}.png"))
    write_text(out / "transforms.txt", text + "\n")
    print(text)
    print(f"{len(samples)} pictures and transforms.txt in {out}")
