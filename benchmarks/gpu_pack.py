# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Makes the parcel of gpu_run.sh: what a GPU machine without a package registry lacks, one folder.

For Python 3.12 on Linux (x86_64) with torch, torchvision, numpy, OpenCV, matplotlib and rich.
What the parcel must have comes first, then what still fits below the limit; the rest is named.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

import gpu_parcel
import gpu_pictures
from packaging.markers import default_environment
from packaging.metadata import Metadata
from packaging.tags import compatible_tags, cpython_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

ROOT = Path(__file__).resolve().parents[1]
PINS = ROOT / "requirements" / "maintained.txt"
PYTHON = "3.12"
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in range(28, 4, -1)]
PLATFORMS += ["manylinux2014_x86_64", "manylinux1_x86_64", "linux_x86_64"]
LIMIT_MB = 60.0
# Of the machine, with what these need.
THERE = {
    "torch",
    "torchvision",
    "numpy",
    "opencv-python",
    "matplotlib",
    "rich",
    "contourpy",
    "cycler",
    "filelock",
    "fonttools",
    "fsspec",
    "jinja2",
    "kiwisolver",
    "markdown-it-py",
    "markupsafe",
    "mdurl",
    "mpmath",
    "networkx",
    "packaging",
    "pillow",
    "pygments",
    "pyparsing",
    "python-dateutil",
    "setuptools",
    "six",
    "sympy",
    "triton",
    "typing-extensions",
}


class Group(NamedTuple):
    """Wheels that are of use together."""

    name: str
    packages: tuple[str, ...]
    needed: bool = False
    build: bool = False  # made here: mmcv's own build leaves its compiled ops out


GROUPS = (
    Group("the stack", ("onedl-mmengine", "onedl-mmcv", "onedl-mmpretrain"), True, True),
    Group(
        "what the stack needs",
        (
            "addict",
            "click",
            "einops",
            "importlib-metadata",
            "markdown",
            "mat4py",
            "model-index",
            "modelindex",
            "ordered-set",
            "platformdirs",
            "pyyaml",
            "tabulate",
            "termcolor",
            "yapf",
            "zipp",
        ),
        True,
    ),
    Group(
        "the tests",
        (
            "execnet",
            "iniconfig",
            "pluggy",
            "pytest",
            "pytest-timeout",
            "pytest-xdist",
        ),
        True,
    ),
    Group("kornia", ("kornia", "kornia-rs")),
)


class Parcel:
    """A folder that grows no larger than it may.

    Args:
        folder: made anew.
        limit: bytes.
    """

    def __init__(self, folder: Path, limit: float) -> None:
        self.folder, self.limit = folder, limit
        self.contents: dict = {}
        self.left_out: list[str] = []

    def size(self) -> int:
        """Bytes so far."""
        return sum(f.stat().st_size for f in self.folder.rglob("*") if f.is_file())

    def add(self, name: str, files: list[Path], below: str, needed: bool = False) -> bool:
        """Moves the files into a folder of the parcel if they all fit.

        Raises:
            SystemExit: they do not, and are needed.
        """
        more = sum(f.stat().st_size for f in files)
        if self.size() + more > self.limit:
            text = (
                f"{name} ({more / 1e6:.1f} MB, {(self.limit - self.size()) / 1e6:.1f} MB are left)"
            )
            if needed:
                raise SystemExit(f"the parcel has no place for {text}: raise --limit-mb")
            self.left_out.append(text)
            return False
        (self.folder / below).mkdir(parents=True, exist_ok=True)
        for file in files:
            shutil.move(str(file), self.folder / below / file.name)
        self.contents[name] = more
        return True


def wheels(group: Group, out: Path) -> list[Path]:
    """Builds or downloads a group's wheels, in the pinned versions.

    Raises:
        SystemExit: pip could not, with what it said last.
    """
    command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "-q"]
    if group.build:
        command += ["wheel", "--no-cache-dir", "--no-deps", "-w", str(out)]
    else:
        command += ["download", "--no-deps", "--only-binary=:all:", "-d", str(out)]
        command += ["--python-version", PYTHON, "--implementation", "cp"]
        for platform in PLATFORMS:
            command += ["--platform", platform]
    env = {**os.environ, "PIP_CONSTRAINT": str(PINS), "PIP_BUILD_CONSTRAINT": str(PINS)}
    done = subprocess.run([*command, *group.packages], capture_output=True, text=True, env=env)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["nothing"])[-1]
        raise SystemExit(f"pip could not get {group.name}, it said: {said}")
    return sorted(out.glob("*.whl"))


def faults(folder: Path) -> list[str]:
    """What keeps the wheels of a folder from being installed and imported on the GPU machine.

    Wheels of another Python or platform, and requirements that neither the folder nor the machine
    has, or has in another version.
    """
    version = tuple(map(int, PYTHON.split(".")))
    tags = {*cpython_tags(version, platforms=PLATFORMS)}
    tags |= {*compatible_tags(version, interpreter="cp312", platforms=PLATFORMS)}
    found, names, every = [], {}, sorted(folder.glob("*.whl"))
    for wheel in every:
        name, number, _, kinds = parse_wheel_filename(wheel.name)
        names[name] = number
        if not kinds & tags:
            found.append(f"{wheel.name} is not for Python {PYTHON} on Linux")
    machine: dict[str, str] = {k: str(v) for k, v in default_environment().items()}
    machine |= dict(
        python_version=PYTHON,
        python_full_version=f"{PYTHON}.3",
        sys_platform="linux",
        platform_system="Linux",
        platform_machine="x86_64",
        extra="",
    )
    for wheel in every:
        for need in metadata(wheel).requires_dist or []:
            if need.marker is not None and not need.marker.evaluate(machine):
                continue
            name = canonicalize_name(need.name)
            if name in names and not need.specifier.contains(names[name], prereleases=True):
                found.append(f"{wheel.name} needs {need}, the parcel has {names[name]}")
            elif name not in names and name not in THERE:
                found.append(f"{wheel.name} needs {need}, which nothing brings")
    return found


def metadata(wheel: Path) -> Metadata:
    """What a wheel says of itself."""
    import zipfile

    with zipfile.ZipFile(wheel) as archive:
        name = next(n for n in archive.namelist() if n.endswith(".dist-info/METADATA"))
        return Metadata.from_email(archive.read(name), validate=False)


def make(args: argparse.Namespace) -> Parcel:
    """Makes the parcel anew; leaves the old one where that fails.

    Raises:
        SystemExit: the folder holds something else, a group cannot be had, or it would not work.
    """
    if args.out.exists() and not (args.out / gpu_parcel.CONTENTS).is_file():
        raise SystemExit(f"{args.out} is there and is no parcel: name another folder")
    with tempfile.TemporaryDirectory() as scratch:
        parcel = Parcel(Path(scratch, "parcel"), args.limit_mb * 1e6)
        parcel.folder.mkdir()
        extra = (Group("asked for", tuple(args.extra)),) if args.extra else ()

        def fresh(name: str) -> Path:
            folder = Path(scratch, name)
            folder.mkdir()
            return folder

        for group in (g for g in GROUPS if g.needed):
            parcel.add(group.name, wheels(group, fresh(group.name)), "wheels", needed=True)
        # The data before what is merely compared with.
        if args.data is None:
            parcel.left_out.append("CIFAR-10 (name its folder: make gpu-parcel DATA=FOLDER)")
        else:
            parcel.add(
                "CIFAR-10, a JPEG-90 copy",
                gpu_pictures.mosaics(args.data, fresh("data")),
                "cifar10",
            )
        parcel.add(
            "photographs", gpu_pictures.photographs(args.images, fresh("pictures")), "photos"
        )
        for group in (*(g for g in GROUPS if not g.needed), *extra):
            parcel.add(group.name, wheels(group, fresh(group.name)), "wheels")
        found = faults(parcel.folder / "wheels")
        if found:
            raise SystemExit("the parcel would not work: " + "; ".join(found))
        commit = subprocess.run(
            ["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True
        )
        about = dict(
            python=PYTHON,
            platform="linux x86_64",
            commit=commit.stdout.strip() or "unknown",
            date=time.strftime("%Y-%m-%d"),
            bytes=parcel.contents,
            left_out=parcel.left_out,
            wheels=sorted(f.name for f in (parcel.folder / "wheels").iterdir()),
        )
        (parcel.folder / gpu_parcel.CONTENTS).write_text(json.dumps(about, indent=1) + "\n")
        shutil.rmtree(args.out, ignore_errors=True)
        shutil.move(str(parcel.folder), args.out)
        parcel.folder = args.out
    return parcel


def main() -> None:
    """Makes it, and says what is in it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path, help="folder, made anew")
    parser.add_argument("--data", type=Path, help="CIFAR-10: folder of train.npz and test.npz")
    parser.add_argument("--images", type=Path, help="folder of JPEGs; default: of scikit-image")
    parser.add_argument("--extra", nargs="+", default=[], help="more packages, if they fit")
    parser.add_argument("--limit-mb", type=float, default=LIMIT_MB, help="default: 60")
    parcel = make(parser.parse_args())
    for name, size in parcel.contents.items():
        print(f"{size / 1e6:8.1f} MB  {name}")
    print(f"{parcel.size() / 1e6:8.1f} MB  in {parcel.folder}")
    for name in parcel.left_out:
        print(f"left out: {name}")


if __name__ == "__main__":
    main()
