# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes features and file names of every image below a folder, as npz, csv or parquet."""

import argparse
import csv
import importlib
import io
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from mmcv.transforms import Compose
from mmengine.config import Config, DictAction
from mmengine.registry import init_default_scope

from xmoco_plugin.checkpoint import write_atomic
from xmoco_plugin.cli import backbones, common
from xmoco_plugin.data import UnlabeledFolder
from xmoco_plugin.data.decode_image import UnreadableImageError
from xmoco_plugin.data.labelled_sets import file_pipeline
from xmoco_plugin.evaluation.features import ModelEmbedder, evaluation_mode
from xmoco_plugin.evaluation.progress import watched


class Images(torch.utils.data.Dataset):
    """Images of a folder as a backbone is judged on; in place of a bad one, its reason."""

    def __init__(self, folder: str, size: int) -> None:
        files = UnlabeledFolder(data_root=folder, pipeline=[])
        self.paths = [files.get_data_info(i)["img_path"] for i in range(len(files))]
        self.names = [os.path.relpath(path, os.path.expanduser(folder)) for path in self.paths]
        self.pipeline = Compose(file_pipeline(size))

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> tuple[int, dict | str]:
        try:
            return index, self.pipeline(dict(img_path=self.paths[index]))
        except UnreadableImageError as error:
            return index, str(error)


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="checkpoint file of a pretraining")
    parser.add_argument("folder", help="of images, in any depth")
    parser.add_argument("--out", type=Path, required=True, help="FILE.npz, .csv or .parquet")
    parser.add_argument(
        "--config",
        help="config with its model; default: the one in the checkpoint, or beside an export",
    )
    backbones.add_image_size(parser)
    parser.add_argument(
        "--normalize", action="store_true", help="scale every feature to norm 1; default: not"
    )
    backbones.add_loading(parser)
    parser.add_argument(
        "--cfg-options", nargs="+", action=DictAction, help="override settings: key=value"
    )
    args = parser.parse_args()
    if args.workers < 0:
        parser.error("--workers starts at 0")
    if args.out.suffix not in WRITERS:
        parser.error(f"--out {args.out}: its name ends in none of {', '.join(WRITERS)}")
    if args.out.suffix == ".parquet":
        try:  # now, not after an hour of extraction
            importlib.import_module("pyarrow.parquet")
        except ImportError as error:
            parser.error(f"--out {args.out} needs pyarrow: pip install pyarrow ({error})")
    return args


def embed(
    args: argparse.Namespace, cfg: Config, images: Images
) -> tuple[list[str], np.ndarray, list[str]]:
    """Names and features (n, D) float32 of the images that can be read; names of those that cannot.

    Raises:
        ValueError: none can be read.
    """
    model = backbones.build(cfg, args.checkpoint)
    extract = ModelEmbedder(model, unit=args.normalize)
    loader = torch.utils.data.DataLoader(
        images, args.batch_size, num_workers=args.workers, collate_fn=list
    )
    names, parts, bad = [], [], []
    with evaluation_mode(model):
        for batch in watched(loader, "embed", show=True):
            bad += [f"{images.names[i]}: {what}" for i, what in batch if isinstance(what, str)]
            good = [(i, what) for i, what in batch if not isinstance(what, str)]
            if good:
                data = {key: [what[key] for _, what in good] for key in good[0][1]}
                parts.append(extract(data)[0].cpu())
                names += [images.names[i] for i, _ in good]
    if not parts:
        raise ValueError(f"{args.folder}: none of its {len(images):,} images can be read. {bad[0]}")
    return names, torch.cat(parts).numpy(), bad


def write_npz(names: list[str], features: np.ndarray, file: Any) -> None:
    """Arrays ``names`` (n,) and ``features`` (n, D)."""
    np.savez(file, names=np.array(names), features=features)


def write_csv(names: list[str], features: np.ndarray, file: Any) -> None:
    """A header, then a line an image: its name and D numbers that float32 reads back unchanged."""
    text = io.TextIOWrapper(file, "utf-8", newline="")
    writer = csv.writer(text)
    writer.writerow(["name", *(f"f{i}" for i in range(features.shape[1]))])
    for name, row in zip(names, features, strict=True):
        writer.writerow([name, *(f"{value:.9g}" for value in row)])
    text.detach()


def write_parquet(names: list[str], features: np.ndarray, file: Any) -> None:
    """Columns ``name`` and ``feature``, a list of D float32."""
    import pyarrow
    import pyarrow.parquet

    flat = pyarrow.array(features.ravel())
    column = pyarrow.FixedSizeListArray.from_arrays(flat, features.shape[1])
    pyarrow.parquet.write_table(pyarrow.table({"name": names, "feature": column}), file)


WRITERS: dict[str, Callable] = {".npz": write_npz, ".csv": write_csv, ".parquet": write_parquet}


def main() -> None:
    """Extracts and writes."""
    args = parse_args()
    common.check_checkpoint(args.checkpoint)
    if not args.out.parent.is_dir():
        raise FileNotFoundError(f"--out {args.out}: there is no folder {args.out.parent}")
    init_default_scope("mmpretrain")
    cfg = backbones.load_config(args)
    size, why = backbones.image_size(args, cfg)
    print(f"image size {size} px: {why}", file=sys.stderr, flush=True)
    names, features, bad = embed(args, cfg, Images(args.folder, size))
    write_atomic(None, args.out, lambda _, file: WRITERS[args.out.suffix](names, features, file))
    for line in bad:
        print(f"left out: {line}", file=sys.stderr)
    left = f"; {len(bad):,} left out" if bad else ""
    print(f"{args.out}: {len(names):,} images x {features.shape[1]} numbers{left}", flush=True)
