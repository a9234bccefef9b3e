# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every way in which a tool takes a file: the tool, the option, what the file pretends to be.

A way whose file is named by the user and runs code by design (a config) stands in ``BY_DESIGN``.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import kinds
from .scene import Scene, tiny_config

Words = list[Any]


class Way(NamedTuple):
    """How a file comes in.

    Attributes:
        tool: Of tools/.
        option: As the user writes it.
        kinds: Hostile files for it, by name.
        words: From the scene and the place of the hostile file to the command line.
        place: Of the hostile file in the scene.
        refuses: Whether the file ends the command (status 2); else it is left out and named.
        needs: Library without which there is no such way.
    """

    tool: str
    option: str
    kinds: dict[str, kinds.Kind]
    words: Callable[[Scene, Path], Words]
    place: str
    refuses: bool = True
    needs: str = ""


def silent(found: dict[str, kinds.Kind]) -> dict[str, kinds.Kind]:
    """The same files, of which a tool need not say anything."""
    return {name: kind._replace(says="") for name, kind in found.items()}


SMALL = ["--image-size", 32, "--workers", 0, "--batch-size", 4]
RUN = [
    "--model",
    "MobileNetV3:small_050",
    "--image-size",
    32,
    "--batch-size",
    4,
    "--epochs",
    1,
    "--workers",
    0,
]


def _embed(scene: Scene, file: Path) -> Words:
    return [file, scene.images, "--out", scene.here / "x.npz", *SMALL]


def _evaluate(scene: Scene, file: Path) -> Words:
    return [file, "--data", scene.labelled, "--protocol", "knn", "--k", 1, "--jobs", 1, *SMALL]


def _export(target: str) -> Callable[[Scene, Path], Words]:
    return lambda scene, file: [file, scene.here / f"out.{'pth'}", "--to", target]


def _option(text: str) -> Callable[[Scene, Path], Words]:
    """train.py with a setting that names the file."""
    return lambda scene, file: [scene.config, "--cfg-options", text.format(file=file)]


def _fine(task: str, *words: Any) -> Callable[[Scene, Path], Words]:
    def command(scene: Scene, file: Path) -> Words:
        config = scene.fine_tuning(task)
        checkpoint = words[0] if words else file
        rest = [word(scene, file) if callable(word) else word for word in words[1:]]
        return [checkpoint, task, config, "--data-root", scene.shapes, "--max-iters", 2, *rest]

    return command


PRETRAINED = "dict(type='Pretrained',checkpoint='{file}')"
WEIGHTS = [
    Way("embed", "checkpoint", kinds.WEIGHTS, _embed, "w.pth"),
    Way("evaluate", "checkpoint", kinds.WEIGHTS, _evaluate, "w.pth"),
    Way("export_backbone", "checkpoint", kinds.WEIGHTS, _export("mmpretrain"), "w.pth"),
    Way(
        "pretrain",
        "--init",
        kinds.WEIGHTS,
        lambda s, f: ["--data", s.images, "--out", s.here / "run", "--init", f, *RUN],
        "w.pth",
    ),
    Way("train", "--resume", kinds.WEIGHTS, lambda s, f: [s.config, "--resume", f], "w.pth"),
    Way("train", "load_from", kinds.WEIGHTS, _option("load_from={file}"), "w.pth"),
    Way(
        "train",
        "model.init_cfg",
        kinds.WEIGHTS,
        lambda s, f: [
            s.config,
            "--cfg-options",
            "model.init_cfg.type=Pretrained",
            f"model.init_cfg.checkpoint={f}",
        ],
        "w.pth",
    ),
    Way(
        "train",
        "model.backbone.init_cfg",
        kinds.WEIGHTS,
        lambda s, f: [tiny_config(s, init=f"[{PRETRAINED.format(file=f)}]")],
        "w.pth",
    ),
    Way(
        "train",
        "last_checkpoint",
        kinds.WEIGHTS,
        lambda s, f: [s.config, "--resume", "--work-dir", s.pointing_at(f)],
        "work/epoch_1.pth",
    ),
    Way("test", "checkpoint", kinds.WEIGHTS, lambda s, f: [s.knn_config, f], "w.pth"),
    Way("eval_knn", "checkpoint", kinds.WEIGHTS, lambda s, f: [s.knn_config, f], "w.pth"),
    Way("transfer", "checkpoint", kinds.WEIGHTS, _fine("det"), "w.pth", needs="mmdet"),
    Way("transfer", "checkpoint (seg)", kinds.WEIGHTS, _fine("seg"), "w.pth", needs="mmseg"),
    Way("few_labels", "checkpoint", kinds.WEIGHTS, _fine("det"), "w.pth", needs="mmdet"),
    Way(
        "few_labels",
        "--imagenet",
        kinds.WEIGHTS,
        _fine("det", "scratch", "--imagenet", lambda s, f: f),
        "w.pth",
        needs="mmdet",
    ),
]
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
        lambda s, f: _evaluate(s, s.weights),
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
        _fine("det", "scratch"),
        "shapes/train/000.jpg",
        refuses=False,
        needs="mmdet",
    ),
    Way(
        "transfer",
        "--train-annotations (seg)",
        kinds.IMAGE,
        _fine("seg", "scratch"),
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
            lambda s, f: ["--data", f, "--out", s.here / "run", "--max-unpacked", 1, *RUN],
            f"photos{ending}",
            refuses=ending != ".tar",
        )
        for ending, found in kinds.ARCHIVE.items()
    ),
    Way(
        "evaluate",
        "--data (arrays)",
        kinds.NPZ,
        lambda s, f: _evaluate(s, s.weights),
        "labelled/train.npz",
    ),
    Way(
        "pack_images",
        "inspect",
        kinds.PACK,
        lambda s, f: ["inspect", s.pack, "--verify"],
        "pack/pack.json",
    ),
    Way(
        "pack_images",
        "unpack",
        kinds.PACK,
        lambda s, f: ["unpack", s.pack, s.here / "files"],
        "pack/pack.json",
    ),
    Way(
        "transfer",
        "--train-annotations",
        kinds.JSON,
        _fine("det", "scratch"),
        "shapes/annotations/train.json",
        needs="mmdet",
    ),
    Way(
        "transfer",
        "--val-annotations",
        kinds.JSON,
        _fine("det", "scratch"),
        "shapes/annotations/val.json",
        needs="mmdet",
    ),
    Way(
        "transfer",
        "classes.json",
        kinds.JSON,
        _fine("seg", "scratch"),
        "shapes/classes.json",
        needs="mmseg",
    ),
    Way(
        "few_labels",
        "--train-annotations",
        kinds.JSON,
        _fine("det", "scratch"),
        "shapes/annotations/train.json",
        needs="mmdet",
    ),
]
RUNS = [
    Way(
        "report",
        "work_dirs",
        kinds.RUN_CONFIG,
        lambda s, f: [s.run],
        "run/config.py",
        refuses=False,
    ),
    Way("runs", "folders", kinds.RUN_CONFIG, lambda s, f: [s.run], "run/config.py", refuses=False),
    *(
        Way(tool, name, silent(kinds.JSON), lambda s, f: [s.run], f"run/{name}", refuses=False)
        for tool in ("report", "runs")
        for name in (
            "health.jsonl",
            "summary.json",
            "last_checkpoint",
            "opening.txt",
            "metrics.jsonl",
        )
    ),
    *(
        Way(
            "pretrain",
            f"--out ({name})",
            found,
            lambda s, f: ["--data", s.done.parent / "images", "--out", s.run, *RUN],
            f"run/{name}",
        )
        for name, found in (
            ("config.py", kinds.RUN_CONFIG),
            ("options.json", kinds.JSON),
            ("last_checkpoint", kinds.JSON),
            ("scan.jsonl", kinds.JSON),
            ("health.jsonl", kinds.JSON),
            ("files.txt", kinds.JSON),
        )
    ),
    Way(
        "embed",
        "config.py beside",
        kinds.RUN_CONFIG,
        lambda s, f: _embed(s, s.exported),
        "export/config.py",
    ),
    Way(
        "evaluate",
        "config.py beside",
        kinds.RUN_CONFIG,
        lambda s, f: _evaluate(s, s.exported),
        "export/config.py",
    ),
    Way(
        "train",
        "--config-as-data",
        kinds.RUN_CONFIG,
        lambda s, f: [f, "--config-as-data", "--no-validate"],
        "run/config.py",
    ),
    Way(
        "cifar10_to_npz",
        "folder",
        kinds.PICKLE,
        lambda s, f: [s.here, s.here / "arrays"],
        "cifar-10-batches-py/data_batch_1",
    ),
    Way(
        "report",
        "epoch_1.pth",
        kinds.WEIGHTS,
        lambda s, f: [s.run],
        "run/epoch_1.pth",
        refuses=False,
    ),
]
WAYS = [*WEIGHTS, *IMAGES, *DATA, *RUNS]
# What the user names and what runs code by design, with the reason.
BY_DESIGN = {
    "config": "a config is a program, and the user names it",
    "base": "a config is a program, and the user names it",
    "cfg_options": "settings that the user types",
}
# No files, or files that are written.
NO_FILE = set(
    """
    out amp no_pin_memory launcher local_rank work_dir no_validate auto_scale_lr
    no_persistent_workers protocol image_size augment batch_size workers jobs ks temperatures lrs
    weight_decays costs shots recalls epochs rule normalize layout encoder force to k temperature
    task seeds gpus max_iters shares share_iters same_images raw shorter_side quality verify number
    runs seed model images sort format queue_len momentum lr crop_scale verbose test_out max_pixels
    max_unpacked max_members plain_names config_as_data
    """.split()  # noqa: SIM905
)
# Options whose file comes in by a way above under another name.
COVERED = {
    "data_root": "--data-root",
    "train_images": "--train-images",
    "val_images": "--train-images",
    "train_annotations": "--train-annotations",
    "val_annotations": "--val-annotations",
    "data": "--data",
    "labels": "--labels",
    "init": "--init",
    "resume": "--resume",
    "imagenet": "--imagenet",
    "checkpoint": "checkpoint",
    "folder": "folder",
    "folders": "folders",
    "work_dirs": "work_dirs",
    "pack": "inspect",
}
