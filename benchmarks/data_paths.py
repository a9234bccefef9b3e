# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The same learning by every data path: kNN of a small ResNet-18 on CIFAR-10, equal budgets.

XMoCo in the sizes of plug_in.py with the views of configs/xmoco_r18_1xb512_cifar10.py: made by
mmpretrain in the loader; by the device, on which the images lie; by TwoViews, from a raw pack. A
run that has its file in --out is not repeated.
"""

import argparse
import functools
import itertools
from pathlib import Path

import cv2
import numpy as np
import plug_in
from mmengine.config import Config

from xmoco_plugin import config_path
from xmoco_plugin._config_scope import unmark_collate
from xmoco_plugin.data import PackOptions, write_pack

PATHS = ("mmpretrain's views", "device views, resident", "pack, TwoViews")


def config_of(path: str, seed: int, args: argparse.Namespace) -> Config:
    """Config of one run."""
    cfg = plug_in.config_of("mocov2", 1, seed, args)
    resident = Config.fromfile(config_path("xmoco_r18_1xb512_cifar10_resident.py"))
    preprocessor, loader = resident.model.data_preprocessor, resident.train_dataloader
    if path == "device views, resident":
        cfg.model.data_preprocessor = preprocessor
        unmark_collate(loader)
        cfg.train_dataloader.collate_fn = loader.collate_fn
        cfg.train_dataloader.dataset.update(
            type=loader.dataset.type, pipeline=loader.dataset.pipeline
        )
    elif path == "pack, TwoViews":
        cfg.train_dataloader.dataset = dict(
            type="PackedImages",
            data_root=str(pack(args)),
            pipeline=[
                dict(type="LoadImageOrSkip"),
                dict(type="TwoViews", views=preprocessor.views),
                dict(type="PackInputs"),
            ],
        )
    return cfg


def pack(args: argparse.Namespace) -> Path:
    """A raw pack of the images to train on, in the archive's order; written once."""
    folder, out = args.out / "images", args.out / "pack"
    if not out.exists():
        folder.mkdir(parents=True, exist_ok=True)
        images = np.load(Path(args.data_root, "train.npz"))["images"][: args.images]
        for i, image in enumerate(images):
            cv2.imwrite(str(folder / f"{i:06d}.png"), image[:, :, ::-1])
        write_pack(folder, out, PackOptions("raw"))
    return out


def table(runs: list[dict]) -> str:
    """Markdown: a row for each path; mean and standard deviation over the seeds."""
    lines = [
        "| data path | kNN top-1 % | loss at the end | CPU s a run |",
        "| --- | --- | --- | --- |",
    ]
    for path in PATHS:
        mine = [run for run in runs if run["path"] == path]
        columns = (
            [run["after"] for run in mine],
            [run["last"]["loss_nce"] for run in mine],
            [run["cpu_seconds"] for run in mine],
        )
        lines.append(f"| {path} | " + " | ".join(map(plug_in.cell, columns)) + " |")
    for name, key in (("untrained", "before"), ("raw pixels", "raw_pixels")):
        lines.append(f"| {name} | {plug_in.cell([run[key] for run in runs])} | | |")
    return "\n".join(lines)


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    plug_in.add_arguments(parser)
    args = parser.parse_args()

    def run(path: str, seed: int) -> dict:
        return plug_in.measure(config_of(path, seed, args), dict(path=path, seed=seed))

    # Seed by seed: what is there when it is stopped can be compared.
    runs = {
        f"{PATHS.index(path)}_{seed}": functools.partial(run, path, seed)
        for seed, path in itertools.product(args.seeds, PATHS)
    }
    plug_in.run_missing(runs, table, args)


if __name__ == "__main__":
    main()
