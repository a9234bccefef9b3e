# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Bad input for tools/pretrain.py, by the names that docs/troubleshooting.md has for it."""

import os
import shutil
import subprocess
import zipfile
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from xmoco_plugin.pretraining import run_lock

from ..pretraining.folder import draw
from ..tool_modules import run_tool
from .command import FAST

Options = dict[str, Any]


@dataclass
class Scene:
    """Where a command is run: nine images in ``photos``; the run shall be ``run``."""

    here: Path
    tool: ModuleType
    patch: pytest.MonkeyPatch
    held: ExitStack
    finished: Path

    def begin(self) -> None:
        """A run on the photos, without the training."""
        self.patch.setattr(self.tool, "train", lambda *_: 0)
        assert run_tool(self.tool, self.patch, "--data", "photos", "--out", "run", *FAST) == 0


def _mistakes(scene: Scene) -> Options:
    return {
        "--data": "potos",
        "--modle": "resnet50",
        "--epochs": 0,
        "--lr": "fast",
        "--labels": "lables",
        "--init": "old.pth",
    }


def _a_file(scene: Scene) -> Options:
    (scene.here / "run").write_text("")
    return {}


def _not_ours(scene: Scene) -> Options:
    (scene.here / "run").mkdir()
    (scene.here / "run" / "thesis.txt").write_text("x")
    return {}


def _not_writable(scene: Scene) -> Options:
    scene.patch.setattr(os, "access", lambda path, mode: not mode & os.W_OK)
    return {}


def _second_start(scene: Scene) -> Options:
    scene.patch.setattr(run_lock, "PATIENCE", 0.1)
    lock = scene.held.enter_context(scene.tool.own.RunLock(scene.here / "run"))
    training = subprocess.Popen(["sleep", "600"], pass_fds=lock.handles)
    scene.held.callback(training.wait)
    scene.held.callback(training.kill)
    lock.note(training.pid)
    return {}


def _other_options(scene: Scene) -> Options:
    scene.begin()
    return {"--lr": 0.1}


def _other_images(scene: Scene) -> Options:
    scene.begin()
    shutil.copy("photos/001.png", "photos/002.png")
    shutil.move("photos/003.png", "photos/new.png")
    (scene.here / "photos" / "004.png").write_bytes(b"")
    return {}


def _no_images(scene: Scene) -> Options:
    shutil.rmtree("photos")
    (scene.here / "photos").mkdir()
    (scene.here / "photos" / "notes.txt").write_text("x")
    return {}


def _none_readable(scene: Scene) -> Options:
    for path in (scene.here / "photos").iterdir():
        path.write_bytes(b"")
    return {}


def _one_image(scene: Scene) -> Options:
    shutil.rmtree("photos")
    draw(scene.here / "photos", 1)
    return {}


def _all_the_same(scene: Scene) -> Options:
    for path in (scene.here / "photos").iterdir():
        if path.name != "000.png":
            shutil.copy("photos/000.png", path)
    return {}


def _broken_options(scene: Scene) -> Options:
    scene.begin()
    (scene.here / "run" / "options.json").write_text("[]")
    return {}


def _code(scene: Scene) -> Options:
    scene.begin()
    config = scene.here / "run" / "config.py"
    config.write_text(f"import os\nos.mkdir('mark')\n{config.read_text()}")
    return {}


def _missing_in_list(scene: Scene) -> Options:
    (scene.here / "list.txt").write_text("photos/001.png\nphotos/gone.png\n")
    return {"--data": "list.txt"}


def _damaged_archive(scene: Scene) -> Options:
    shutil.make_archive("photos", "zip", "photos")
    whole = (scene.here / "photos.zip").read_bytes()
    (scene.here / "photos.zip").write_bytes(whole[:-100])
    return {"--data": "photos.zip"}


def _large_archive(scene: Scene) -> Options:
    with zipfile.ZipFile("photos.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("black.bmp", bytes(3_000_000))
    return {"--data": "photos.zip", "--max-unpacked": 0.001}


def _disk(scene: Scene) -> None:
    usage = shutil._ntuple_diskusage(10**9, 10**9 - 1000, 1000)  # type: ignore[attr-defined]
    scene.patch.setattr(shutil, "disk_usage", lambda _: usage)


def _disk_full(scene: Scene) -> Options:
    _disk(scene)
    return {}


def _disk_full_for_archive(scene: Scene) -> Options:
    shutil.make_archive("photos", "zip", "photos")
    os.truncate("photos.zip", 50_000_000)
    _disk(scene)
    return {"--data": "photos.zip"}


def _little_memory(scene: Scene) -> Options:
    scene.patch.setattr(scene.tool.own, "free_memory", lambda _: 200e6)
    return {}


def _no_class_folders(scene: Scene) -> Options:
    draw(scene.here / "labels", 4)
    return {"--labels": "labels"}


def _unreadable_label(scene: Scene) -> Options:
    for name in ("daisy", "rose"):
        draw(scene.here / "labels" / name, 2)
    (scene.here / "labels" / "rose" / "bad.png").write_bytes(b"")
    return {"--labels": "labels"}


def _bank_asked_for(scene: Scene) -> Options:
    for name in ("daisy", "rose"):
        draw(scene.here / "labels" / "train" / name, 2, seed=len(name))
        (scene.here / "labels" / "val" / name).mkdir(parents=True)
        first = scene.here / "labels" / "train" / name / "000.png"
        shutil.copy(first, scene.here / "labels" / "val" / name / "other.png")
    return {"--labels": "labels"}


def _other_init(scene: Scene) -> Options:
    shutil.copy(scene.finished / "backbone.pth", "old.pth")
    return {"--model": "resnet34", "--init": "old.pth"}


# The first column of the page's table -> what makes it so; returns the options that are unlike
# --data photos --out run.
BAD_INPUT = {
    "several mistakes": _mistakes,
    "`--out` is a file": _a_file,
    "`--out` holds something else": _not_ours,
    "`--out` cannot be written": _not_writable,
    "a second start": _second_start,
    "other options than the run's": _other_options,
    "other images than the run's": _other_images,
    "no images": _no_images,
    "none that can be read": _none_readable,
    "one image": _one_image,
    "images that are all the same": _all_the_same,
    "a broken file in the run's folder": _broken_options,
    "code in the run's config": _code,
    "a list with a missing file": _missing_in_list,
    "a damaged archive": _damaged_archive,
    "an archive above the limit": _large_archive,
    "no such backbone": lambda _: {"--model": "resnet5O"},
    "a backbone for grey images": lambda _: {"--model": "LeNet5"},
    "no such architecture": lambda _: {"--model": "ConvNeXt:tinny"},
    "no such library": lambda _: {"--model": "mmdt.CSPNeXt:tiny"},
    "a size that patches do not divide": lambda _: {"--model": "vit-small", "--image-size": 100},
    "a disk too full": _disk_full,
    "a disk too full to unpack": _disk_full_for_archive,
    "a batch too large": _little_memory,
    "a batch larger than the set": lambda _: {"--batch-size": 16},
    "a queue longer than the set": lambda _: {"--queue-len": 10},
    "labels without classes": _no_class_folders,
    "labels that cannot be read": _unreadable_label,
    "labels that kNN finds themselves": _bank_asked_for,
    "`--init` of another model": _other_init,
}
