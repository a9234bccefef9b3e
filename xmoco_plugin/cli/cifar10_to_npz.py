# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes train.npz and test.npz, as NpzImages reads them, from CIFAR-10's Python files.

FOLDER holds cifar-10-batches-py, as the authors' archive unpacks. Nothing is downloaded. The files
are pickles, which mmpretrain's CIFAR10 reads after checking their MD5 sums.
"""

import argparse
from pathlib import Path

import numpy as np
from mmpretrain.datasets import CIFAR10

from xmoco_plugin.checkpoint import write_atomic


def convert(folder: str, out: Path) -> None:
    """Writes both splits; RGB, labels in the order of the files.

    Raises:
        FileNotFoundError: `folder` does not hold CIFAR-10's Python files, all and unchanged.
    """
    if not Path(folder, "cifar-10-batches-py").is_dir():
        raise FileNotFoundError(
            f"no folder cifar-10-batches-py in {Path(folder).absolute()}: unpack "
            "cifar-10-python.tar.gz there."
        )
    out.mkdir(parents=True, exist_ok=True)
    for split in ("train", "test"):
        try:
            data = CIFAR10(data_root=folder, split=split, download=False)
        except (RuntimeError, AssertionError) as error:
            raise FileNotFoundError(f"{folder}: files missing or not whole ({error})") from error
        samples = [data.get_data_info(i) for i in range(len(data))]
        images = np.stack([sample["img"] for sample in samples])
        labels = np.array([sample["gt_label"] for sample in samples], dtype=np.int64)
        arrays = dict(images=images, labels=labels)
        write_atomic(arrays, out / f"{split}.npz", save=lambda a, f: np.savez(f, **a))
        print(f"{out / split}.npz: {len(images):,} images, {len(np.unique(labels))} classes")


def main(args: argparse.Namespace) -> None:
    """Converts."""
    convert(args.folder, args.out)
