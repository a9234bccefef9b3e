# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The parcel of gpu_run.sh, where it is opened: wheels, CIFAR-10 as JPEG mosaics, photographs.

Needs nothing but the standard library until there are pictures to read. gpu_pack.py makes one.
"""

import importlib.metadata
import importlib.util
import json
import platform
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

CONTENTS = "parcel.json"
STACK = ("mmengine", "mmcv", "mmpretrain")
# A mosaic: so many tiles, whose sides are multiples of a JPEG's blocks, so that none bleeds.
ROWS, COLUMNS, TILE = 50, 40, 32
SIZE = (500, 375)  # of the photographs, as ImageNet's are on average


def read(folder: Path) -> dict[str, Any]:
    """What a parcel says of itself.

    Raises:
        ValueError: the folder is no parcel, or one of another Python or machine whose stack is not
            installed here either.
    """
    file = folder / CONTENTS
    if not file.is_file():
        raise ValueError(
            f"{folder} is no parcel, it has no {CONTENTS}: make one with 'make gpu-parcel'"
        )
    parcel = json.loads(file.read_text())
    if not fits(parcel) and not stack_is_here():
        raise ValueError(
            f"the parcel in {folder} is for Python {parcel['python']} on {parcel['platform']}, and "
            f"this is Python {here()[0]} on {here()[1]}: start it with that Python "
            "(PYTHON=/path/to/python), or make another with 'make gpu-parcel'"
        )
    return parcel


def here() -> tuple[str, str]:
    """Python and platform of this process."""
    version = ".".join(map(str, sys.version_info[:2]))
    return version, f"{sys.platform} {platform.machine()}"


def fits(parcel: dict[str, Any]) -> bool:
    """Whether a parcel's wheels are for this Python."""
    return (parcel["python"], parcel["platform"]) == here()


def stack_is_here() -> bool:
    """Whether this Python has the stack without a parcel."""
    return all(importlib.util.find_spec(name) for name in STACK)


def canonical(name: str) -> str:
    """A distribution's name as indexes write it."""
    return re.sub(r"[-_.]+", "-", name).lower()


def install(folder: Path, site: Path) -> Path:
    """Installs those wheels whose distribution is not there, without a registry; returns where.

    Raises:
        ValueError: pip could not, with what it said last.
    """
    site.mkdir(parents=True, exist_ok=True)
    if not fits(json.loads((folder / CONTENTS).read_text())):
        return site  # the stack is here: only the data are wanted
    there = {canonical(d.metadata["Name"] or "") for d in importlib.metadata.distributions()}
    wheels = [
        str(wheel)
        for wheel in sorted((folder / "wheels").glob("*.whl"))
        if canonical(wheel.name.split("-")[0]) not in there
    ]
    if wheels:
        words = (
            "install -q --no-index --no-deps --no-compile --disable-pip-version-check --no-input"
        )
        command = [sys.executable, "-m", "pip", *words.split(), "--target", str(site), *wheels]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
            raise ValueError(f"pip could not install the parcel's wheels, it said: {said}")
    return site


def unpack(folder: Path, out: Path) -> Path | None:
    """Writes train.npz and test.npz from the parcel's mosaics; None where it has none."""
    source = folder / "cifar10"
    if not source.is_dir():
        return None
    import numpy as np

    out.mkdir(parents=True, exist_ok=True)
    with np.load(source / "labels.npz", allow_pickle=False) as labels:
        for split in labels.files:
            np.savez(
                out / f"{split}.npz",
                images=tiles(source, split, len(labels[split])),
                labels=labels[split],
            )
    return out


def tiles(folder: Path, split: str, count: int):
    """(count, 32, 32, 3) uint8 RGB out of a split's mosaics."""
    import numpy as np
    from PIL import Image

    parts = []
    for file in sorted(folder.glob(f"{split}_*.jpg")):
        pixels = np.asarray(Image.open(file).convert("RGB"))
        shaped = pixels.reshape(ROWS, TILE, COLUMNS, TILE, 3).transpose(0, 2, 1, 3, 4)
        parts.append(shaped.reshape(-1, TILE, TILE, 3))
    return np.concatenate(parts)[:count]


def photos(folder: Path) -> Path | None:
    """The parcel's photographs, if it has any."""
    source = folder / "photos"
    return source if source.is_dir() else None


def draw_photos(out: Path, count: int) -> Path:
    """JPEGs of smooth noise, where no photographs were given: as large, and about as many bytes."""
    import numpy as np
    from PIL import Image

    out.mkdir(parents=True, exist_ok=True)
    draw = np.random.default_rng(0)
    for i in range(count):
        coarse = draw.integers(0, 256, (12, 16, 3), dtype=np.uint8)
        smooth = np.asarray(
            Image.fromarray(coarse).resize(SIZE, Image.Resampling.BICUBIC), np.int16
        )
        grain = draw.integers(-24, 25, (SIZE[1], SIZE[0], 1))
        pixels = np.clip(smooth + grain, 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(out / f"{i:04d}.jpg", quality=90)
    return out
