# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where tools take images, lists, archives, packs, arrays and annotations."""

from . import kinds, kinds_archives, kinds_runs
from .way import RUN, SMALL, Way, evaluate, fine, silent

IMAGES = [
    Way(
        "embed",
        "folder",
        kinds.IMAGE,
        lambda s, f: [s.weights, s.images, "--out", s.here / "x.npz", *SMALL],
        "images/a/x.png",
        refuses=False,
    ),
    Way(
        "pretrain",
        "--data",
        kinds.IMAGE,
        lambda s, f: ["--data", s.images, "--out", s.here / "run", *RUN],
        "images/a/x.png",
        refuses=False,
    ),
    Way(
        "pretrain",
        "--data (a file)",
        kinds.IMAGE,
        lambda s, f: ["--data", s.images, f, "--out", s.here / "run", *RUN],
        "x.png",
        refuses=False,
    ),
    Way(
        "pretrain",
        "--labels",
        kinds.IMAGE,
        lambda s, f: [
            "--data",
            s.images,
            "--labels",
            s.labelled / "train",
            "--out",
            s.here / "run",
            *RUN,
        ],
        "labelled/train/a/x.png",
        refuses=False,
    ),
    Way(
        "evaluate",
        "--data",
        kinds.IMAGE,
        lambda s, f: evaluate(s, s.weights),
        "labelled/train/a/x.png",
        refuses=False,
    ),
    Way(
        "pack_images",
        "folder --raw",
        kinds.IMAGE,
        lambda s, f: ["pack", s.images, s.here / "pack", "--raw"],
        "images/a/x.png",
        refuses=False,
    ),
    Way(
        "pack_images",
        "folder",
        {name: kind for name, kind in kinds.IMAGE.items() if "pixels" not in name},  # not decoded
        lambda s, f: ["pack", s.images, s.here / "pack"],
        "images/a/x.png",
        refuses=False,
    ),
    Way(
        "train",
        "--data-root",
        kinds.IMAGE,
        lambda s, f: [s.config, "--data-root", s.images],
        "images/a/x.png",
        refuses=False,
    ),
    Way(
        "browse_views",
        "--data-root",
        kinds.IMAGE,
        lambda s, f: [
            s.config,
            "--data-root",
            s.images,
            "--number",
            16,
            "--runs",
            1,
            "--out",
            s.here / "v",
        ],
        "images/a/x.png",
        refuses=False,
    ),
    Way(
        "transfer",
        "--train-images",
        silent(kinds.IMAGE),  # the training reads them: tests/transfer/test_reading.py
        fine("det", "scratch"),
        "shapes/train/000.jpg",
        refuses=False,
        needs="mmdet",
    ),
    Way(
        "transfer",
        "--train-annotations (seg)",
        kinds.IMAGE,
        fine("seg", "scratch"),
        "shapes/ann_dir/train/000.png",
        refuses=False,
        needs="mmseg",
    ),
]
DATA = [
    Way(
        "pretrain",
        "--data (a list)",
        kinds.LIST,
        lambda s, f: ["--data", f, s.images, "--out", s.here / "run", *RUN],
        "list.txt",
    ),
    *(
        Way(
            "pretrain",
            f"--data (an archive, {ending})",
            found,
            lambda s, f: ["--data", f, "--out", s.here / "run", "--max-unpacked", 0.01, *RUN],
            f"photos{ending}",
            refuses=ending != ".tar",
        )
        for ending, found in kinds_archives.ARCHIVE.items()
    ),
    Way(
        "evaluate",
        "--data (arrays)",
        kinds_runs.NPZ,
        lambda s, f: evaluate(s, s.weights),
        "labelled/train.npz",
    ),
    Way(
        "pack_images",
        "inspect",
        kinds_runs.PACK,
        lambda s, f: ["inspect", s.pack, "--verify"],
        "pack/pack.json",
    ),
    Way(
        "pack_images",
        "unpack",
        kinds_runs.PACK,
        lambda s, f: ["unpack", s.pack, s.here / "files"],
        "pack/pack.json",
    ),
    Way(
        "transfer",
        "--train-annotations",
        kinds.JSON,
        fine("det", "scratch"),
        "shapes/annotations/train.json",
        needs="mmdet",
    ),
    Way(
        "transfer",
        "--val-annotations",
        kinds.JSON,
        fine("det", "scratch"),
        "shapes/annotations/val.json",
        needs="mmdet",
    ),
    Way(
        "transfer",
        "classes.json",
        kinds.JSON,
        fine("seg", "scratch"),
        "shapes/classes.json",
        needs="mmseg",
    ),
    Way(
        "few_labels",
        "--train-annotations",
        kinds.JSON,
        fine("det", "scratch"),
        "shapes/annotations/train.json",
        needs="mmdet",
    ),
]
