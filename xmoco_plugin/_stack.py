# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The OpenMMLab stack this package needs: what was tested, and what to say when it is not there."""

# setup.py runs this file for its tables: import nothing but the standard library here.

import contextlib
import importlib
import importlib.util
import re
import sys
from collections.abc import Iterator
from importlib import metadata
from typing import NamedTuple, TextIO, cast


class Need(NamedTuple):
    """A module the package needs: the distributions that bring it, tested versions [low, high)."""

    module: str
    distributions: tuple[str, ...]
    low: str
    high: str


NEEDS = (
    Need("torch", ("torch",), "2.6", "3"),
    Need("torchvision", ("torchvision",), "0.21", "1"),
    Need("mmengine", ("onedl-mmengine", "mmengine", "mmengine-lite"), "0.10.7", "0.11"),
    Need("mmcv", ("onedl-mmcv", "mmcv", "mmcv-lite", "mmcv-full"), "2.1.0", "2.4"),
    Need("mmpretrain", ("onedl-mmpretrain", "mmpretrain"), "1.2.0", "1.4"),
)

# What onedl-mmpretrain prints where a package that nothing here uses is missing.
UNASKED = "Could not import OneDL"

# Of the official stack only.
NUMPY = Need("numpy", ("numpy",), "0", "2")

# What pip is told for each stack, by module. A first install takes the maintained one.
STACKS = {
    "onedl": {
        "torch": "torch>=2.6,<3",
        "torchvision": "torchvision>=0.21,<1",
        "mmengine": "onedl-mmengine>=0.10.12,<0.11",
        "mmcv": "onedl-mmcv>=2.3.6,<2.4",
        "mmpretrain": "onedl-mmpretrain>=1.3.6,<1.4",
    },
    "official": {
        "torch": "torch>=2.6,<3",
        "torchvision": "torchvision>=0.21,<1",
        "mmengine": "mmengine>=0.10.7,<0.11",
        "mmcv": "mmcv-lite>=2.1.0,<2.2",
        "mmpretrain": "mmpretrain>=1.2.0,<1.3",
        # mmcv 2.1.0's adjust_hue overflows a uint8 on purpose, which numpy 2 refuses.
        "numpy": "numpy<2",
        # mmengine 0.10.7 resolves `mmpretrain::` configs with pkg_resources, gone since 82.
        "pkg_resources": "setuptools<81",
    },
}


def check_stack() -> None:
    """Checks that the stack can be imported, in a tested version, before anything relies on it.

    Raises:
        ImportError: One for all faults. It names what was found and the pip command that mends it.
    """
    found = {need: _installed(need) for need in NEEDS}
    stack = _stack_in_use([name for names in found.values() for name in names])
    faults: list[str] = []
    mend: list[str] = []  # modules to install again
    remove: list[str] = []  # distributions that must go first
    for need, versions in found.items():
        wanted = f"needed: >={need.low}, <{need.high}"
        if len(versions) > 1:
            # Both unpack into one folder, so what is imported is a mixture of the two.
            both = " and ".join(f"{name} {version}" for name, version in versions.items())
            faults.append(f"{need.module}: {both} are installed over each other")
            remove.extend(versions)
        elif not versions and importlib.util.find_spec(need.module) is None:
            faults.append(f"{need.module}: not installed ({wanted})")
        elif versions and not _in_range(next(iter(versions.values())), need):
            name, version = next(iter(versions.items()))
            faults.append(f"{need.module}: {name} {version} is installed ({wanted})")
        else:
            continue
        mend.append(need.module)
    numpy = _installed(NUMPY).get("numpy", "0")
    if "numpy" in STACKS[stack] and not _in_range(numpy, NUMPY):
        faults.append(f"numpy: {numpy} is installed (mmcv 2.1 jitters the hue with <2 only)")
        mend.append("numpy")
    if "pkg_resources" in STACKS[stack] and importlib.util.find_spec("pkg_resources") is None:
        faults.append("pkg_resources: not installed (setuptools 82 and later have none)")
        mend.append("pkg_resources")
    if not faults:
        faults, mend = _import_faults()
    if faults:
        raise ImportError(_message(stack, faults, mend, remove), name=__name__)


@contextlib.contextmanager
def without_unasked() -> Iterator[None]:
    """Keeps :data:`UNASKED`, printed by a host's import, from being every tool's first line."""
    stream = sys.stdout
    if stream is None:  # no console
        yield
        return
    with contextlib.redirect_stdout(cast(TextIO, _Filter(stream))) as stand_in:
        try:
            yield
        finally:
            stand_in.flush()


def _installed(need: Need) -> dict[str, str]:
    """Returns the installed distributions that bring `need.module`, name to version."""
    versions = {}
    for name in need.distributions:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return versions


def _stack_in_use(distributions: list[str]) -> str:
    """Returns the stack of which more is installed, the maintained one where neither is."""
    onedl = sum(name.startswith("onedl-") for name in distributions)
    official = sum(name.startswith("mm") for name in distributions)
    return "official" if official > onedl else "onedl"


def _in_range(version: str, need: Need) -> bool:
    return _release(need.low) <= _release(version) < _release(need.high)


def _release(version: str) -> tuple[int, ...]:
    """Returns the first three numbers: '2.11.0+cpu' is (2, 11, 0), '1.2rc1' (1, 2, 0)."""
    match = re.match(r"(\d+)(?:\.(\d+))?(?:\.(\d+))?", version)
    return tuple(int(part or 0) for part in match.groups()) if match else (0, 0, 0)


class _Filter:
    """Stands for a stream and leaves the line :data:`UNASKED` out of it.

    A logger that a host makes meanwhile may keep it, so it hands everything else on for good.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._begun = ""  # a line whose end has not come

    def write(self, text: str) -> int:
        lines = (self._begun + text).split("\n")
        self._begun = lines.pop()
        for line in lines:
            if line != UNASKED:
                self._stream.write(f"{line}\n")
        return len(text)

    def flush(self) -> None:
        self._stream.write(self._begun)
        self._begun = ""
        self._stream.flush()

    def __getattr__(self, name: str) -> object:
        return getattr(self._stream, name)


def _import_faults() -> tuple[list[str], list[str]]:
    """Imports each module; the first that fails is the fault, the others may only follow."""
    for need in NEEDS:
        try:
            module = importlib.import_module(need.module)
        except Exception as error:  # mmpretrain asserts, torchvision raises RuntimeError
            return [f"{need.module}: import fails, {type(error).__name__}: {error}"], [need.module]
        # On PYTHONPATH without metadata, only the module itself knows its version.
        version = getattr(module, "__version__", need.low)
        if not _in_range(version, need):
            return [
                f"{need.module}: {version} is imported from {module.__file__} "
                f"(needed: >={need.low}, <{need.high})"
            ], [need.module]
    return [], []


def _message(stack: str, faults: list[str], mend: list[str], remove: list[str]) -> str:
    requirements = " ".join(f"'{STACKS[stack][module]}'" for module in mend)
    commands = [f"pip install {requirements}"]
    if remove:
        commands.insert(0, f"pip uninstall -y {' '.join(remove)}")
    elif "cannot open shared object file" in faults[0]:  # of the system: OpenCV's, mostly
        commands = ["apt-get install -y libgl1 libglib2.0-0", "(or your system's package for it)"]
    elif "import fails" in faults[0]:
        commands = [f"pip install --force-reinstall {requirements}"]
    return "\n".join(
        [
            "xmoco_plugin cannot use the OpenMMLab stack of this environment:",
            *(f"  - {fault}" for fault in faults),
            "This mends it:",
            *(f"  {command}" for command in commands),
        ]
    )
