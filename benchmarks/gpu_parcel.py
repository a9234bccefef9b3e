# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The parcel of gpu_run.sh where it is opened, by the standard library; gpu_pack.py makes it."""

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


def photos(folder: Path) -> Path | None:
    """The parcel's photographs, if it has any."""
    source = folder / "photos"
    return source if source.is_dir() else None
