# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the loader costs a batch of CIFAR-10's size: ordinary, and with the images on the device.

One process without workers, images of noise, the configs' pipelines; an epoch each, in turns.
"""

import argparse
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import measure
import numpy as np
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from xmoco_plugin import config_path
from xmoco_plugin._config_scope import unmark_collate

PACK = dict(type="PackInputs")


def loader_of(config: str, folder: str, args: argparse.Namespace, pipeline: list | None = None):
    """The training loader of a config, without workers."""
    loader = Config.fromfile(config_path(config)).train_dataloader
    unmark_collate(loader)
    loader.update(batch_size=args.batch, num_workers=0, persistent_workers=False)
    loader.dataset.update(data_root=folder)
    if pipeline is not None:
        loader.dataset.pipeline = pipeline
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        return Runner.build_dataloader(loader, seed=0)


def ways(folder: str, args: argparse.Namespace, device: str) -> dict[str, Callable]:
    """An epoch of each."""
    ordinary, resident = "xmoco_r18_1xb512_cifar10.py", "xmoco_r18_1xb512_cifar10_resident.py"
    cfg = Config.fromfile(config_path(resident))
    preprocessor = MODELS.build(cfg.model.data_preprocessor).to(device)
    two_views = dict(type="TwoViews", views=cfg.model.data_preprocessor.views)

    def epoch(loader) -> Callable:
        return lambda: [batch["inputs"] for batch in loader]

    on_device = loader_of(resident, folder, args)
    return {
        "ordinary, mmpretrain's views": epoch(loader_of(ordinary, folder, args)),
        "ordinary, TwoViews": epoch(loader_of(ordinary, folder, args, [two_views, PACK])),
        "ordinary, images only": epoch(loader_of(ordinary, folder, args, [PACK])),
        "resident": epoch(on_device),
        f"resident, with views on {device}": lambda: [
            preprocessor(batch, training=True) for batch in on_device
        ],
    }


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--batches", type=int, default=2, help="of an epoch")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    warnings.filterwarnings("ignore", category=UserWarning)  # the hosts' own
    device = "cuda" if torch.cuda.is_available() else "cpu"
    count = args.batch * args.batches
    with tempfile.TemporaryDirectory() as folder:
        images = np.random.default_rng(0).integers(0, 256, (count, 32, 32, 3), dtype=np.uint8)
        np.savez(Path(folder, "train.npz"), images=images)
        seconds = measure.alternate(ways(folder, args, device), args.repeats, device)
    rows: list[dict] = []
    for name, taken in seconds.items():
        row = {"loader": name, "ms a batch": 1e3 * taken / args.batches, "images/s": count / taken}
        row["times the ordinary"], row["rounds"] = measure.ratio(
            seconds["ordinary, mmpretrain's views"], taken
        )
        rows.append(row)
    title = f"Loader of {args.batch} images of 32 px"
    measure.report(title, rows, measure.environment(device), args)


if __name__ == "__main__":
    main()
