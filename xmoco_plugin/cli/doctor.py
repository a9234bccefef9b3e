# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""`xmoco doctor`: looks at Python, the stack and the machine. Loaded without the package.

A line is right ("ok"), good to know ("note"), or must be mended ("MEND"), with what mends it.
"""

# The standard library only: it must run where the stack cannot be imported.

import argparse
import contextlib
import importlib
import importlib.util
import os
import runpy
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any, NamedTuple

GB = 10**9
LEAST_MEMORY = 2 * GB  # the hosts take half of it before the first image
LEAST_DISK = 2 * GB  # checkpoints of a ResNet-50 with its optimizer: three of 0.6 GB
LEAST_SHARED = GB // 2  # Docker gives 64 MB, and a batch of views of 64 images is 77 MB
STACK = Path(__file__).resolve().parents[1] / "_stack.py"
# Optional distributions by what they are for, with what brings them.
EXTRAS = {
    "report": ("the report's map of features", ("scikit-learn",)),
    "evaluation": ("SVM protocols", ("joblib", "scikit-learn")),
    "export": ("exports to timm and safetensors", ("safetensors", "timm")),
    "demo": ("the demo's photographs", ("scikit-image",)),
    "tiff": ("large TIFFs", ("tifffile", "imagecodecs")),
    "completion": ("completion in the shell", ("shtab",)),
}
# Modules that fine-tuning needs -> their distributions.
LIBRARIES = {
    "mmdet": ("onedl-mmdetection", "mmdet"),
    "mmseg": ("onedl-mmsegmentation", "mmsegmentation"),
}
COMPILE = "make setup-transfer in a checkout, or bash tools/build_mmcv_ops.sh DISTRIBUTION VERSION"


class Line(NamedTuple):
    """One finding."""

    state: str  # ok, note or MEND
    topic: str
    finding: str
    mend: str = ""

    def __str__(self) -> str:
        text = f"{self.state:<5} {self.topic:<12} {self.finding}"
        if self.mend:
            text += "".join(f"\n{'':<19}-> {line}" for line in self.mend.split("\n"))
        return text


def main(args: argparse.Namespace) -> int:
    """Prints a line for each topic as it is known; returns 1 where one must be mended.

    With ``--data`` the door starts `look_at_data` instead.
    """
    bad = 0
    for look in LOOKS:
        for line in look():
            print(line, flush=True)
            bad += line.state == "MEND"
    if bad:
        print(f"{bad} thing{'s' * (bad > 1)} to mend.")
    return int(bad > 0)


def look_at_python() -> Iterator[Line]:
    """The interpreter."""
    yield judge_python(sys.version_info[:3], sys.executable)


def judge_python(version: tuple[int, int, int], executable: str) -> Line:
    """Whether the pinned stacks exist for this version."""
    finding = f"{'.'.join(map(str, version))}, {executable}"
    if (3, 10) <= version[:2] <= (3, 12):
        return Line("ok", "Python", finding)
    mend = "make an environment with Python 3.10 to 3.12: python3.12 -m venv .venv"
    return Line("MEND", "Python", f"{finding}: the stacks are tested on 3.10 to 3.12", mend)


def look_at_stack() -> Iterator[Line]:
    """torch and OpenMMLab's libraries: versions, and whether they can be imported."""
    names = runpy.run_path(str(STACK))
    found = {need: names["_installed"](need) for need in names["NEEDS"]}
    stack = names["_stack_in_use"]([name for versions in found.values() for name in versions])
    there = [f"{name} {v}" for versions in found.values() for name, v in versions.items()]
    try:
        quietly(names["check_stack"])
    except ImportError as error:
        faults, _, mend = str(error).partition("\nThis mends it:\n")
        finding = "; ".join(line.strip(" -") for line in faults.splitlines()[1:])
        yield Line("MEND", "stack", finding, "\n".join(map(str.strip, mend.splitlines())))
        return
    kind = {"onedl": "maintained", "official": "official"}[stack]
    yield Line("ok", "stack", f"{kind}: {', '.join(there)}")


def look_at_fine_tuning() -> Iterator[Line]:
    """mmcv's compiled ops, mmdet and mmseg: fine-tuning needs them, pretraining none."""
    if importlib.util.find_spec("mmcv") is None:
        return
    if importlib.util.find_spec("mmcv._ext") is None:
        finding = "mmcv's ops are not compiled: fine-tuning in mmdet and mmseg needs them"
        yield Line("note", "ops", f"{finding}, nothing else does", COMPILE)
    else:
        try:
            quietly(importlib.import_module, "mmcv._ext")
        except Exception as error:  # an ABI of another torch: ImportError, OSError, ...
            finding = f"mmcv's ops are compiled, and cannot be loaded: {first_line(error)}"
            yield Line("MEND", "ops", finding, f"compile them for this torch: {COMPILE}")
        else:
            yield Line("ok", "ops", "mmcv's ops are compiled")
    there = [version_of(names) for names in LIBRARIES.values()]
    absent = [name for name, names in LIBRARIES.items() if not version_of(names)]
    if absent:
        finding = f"not installed: {', '.join(absent)}: for fine-tuning"
        yield Line("note", "fine-tuning", finding, "make setup-transfer in a checkout")
    else:
        yield Line("ok", "fine-tuning", ", ".join(there))


def look_at_extras() -> Iterator[Line]:
    """Optional packages."""
    for purpose, names in EXTRAS.values():
        absent = [name for name in names if not version_of((name,))]
        if absent:
            finding = f"{purpose}: not installed: {', '.join(absent)}"
            yield Line("note", "optional", finding, f"pip install {' '.join(absent)}")


def look_at_gpu() -> Iterator[Line]:
    """Accelerators, and what they will be used for."""
    try:
        devices, version = quietly(ask_torch)
    except Exception as error:  # torch is missing or broken: the stack's line says so
        yield Line("note", "GPU", f"torch cannot be asked: {first_line(error)}")
        return
    yield judge_gpu(devices, version, shutil.which("nvidia-smi") is not None)


def ask_torch() -> tuple[list[tuple[str, int]], str | None]:
    """Name and bytes of each GPU that torch can compute on, and CUDA's version it is built for."""
    torch: Any = importlib.import_module("torch")
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    devices = [torch.cuda.get_device_properties(i) for i in range(count)]
    return [(device.name, device.total_memory) for device in devices], torch.version.cuda


def judge_gpu(devices: list[tuple[str, int]], version: str | None, driver: bool) -> Line:
    """What torch sees, against what the machine has.

    Args:
        devices: Name and bytes of each GPU that torch can compute on.
        version: CUDA's that torch is built for; None for a build without.
        driver: There is an nvidia-smi.
    """
    if devices:
        shown = [f"{name}, {size / GB:.0f} GB" for name, size in devices]
        used = "training in mixed precision, features, kNN"
        more = "; --gpus N takes several" if len(devices) > 1 else ""
        return Line("ok", "GPU", f"{'; '.join(shown)}: used for {used}{more}")
    if not driver:
        return Line("note", "GPU", "none: everything runs on the CPU, in float32")
    if version is None:
        mend = "install a build of torch for CUDA: https://pytorch.org/get-started/locally"
        return Line("MEND", "GPU", "there is a driver, but this torch is built for the CPU", mend)
    finding = f"there is a driver, but torch (CUDA {version}) sees no GPU"
    return Line("MEND", "GPU", finding, "nvidia-smi  (and look at CUDA_VISIBLE_DEVICES)")


def look_at_cores() -> Iterator[Line]:
    """Cores, and how threads wait."""
    yield judge_cores(cores(), os.cpu_count() or 1, os.environ.get("OMP_NUM_THREADS"))
    yield judge_waiting(os.environ.get("OMP_WAIT_POLICY"))


def cores() -> int:
    """Cores that this process may use: by affinity, and by a container's quota."""
    usable = os.cpu_count() or 1
    if hasattr(os, "sched_getaffinity"):
        usable = len(os.sched_getaffinity(0))
    with contextlib.suppress(OSError, ValueError):
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        usable = min(usable, max(1, -(-int(quota) // int(period))))
    return usable


def judge_cores(usable: int, there: int, threads: str | None) -> Line:
    """How many may be used of those there are, and by how many threads they will be."""
    finding = f"{usable} of {there} may be used" if usable < there else f"{there}"
    threads = threads and threads.split(",")[0]  # of the outermost level
    if threads is not None and not (threads.isdecimal() and int(threads) >= 1):
        mend = f"export OMP_NUM_THREADS={usable}"
        return Line("MEND", "cores", f"{finding}; OMP_NUM_THREADS={threads} is no number", mend)
    if threads is not None and int(threads) > usable:
        mend = f"export OMP_NUM_THREADS={usable}"
        return Line(
            "MEND", "cores", f"{finding}; OMP_NUM_THREADS={threads}: they fight over them", mend
        )
    if threads is None and usable < there:
        mend = f"export OMP_NUM_THREADS={usable}"
        return Line("note", "cores", f"{finding}; torch may start a thread for each of them", mend)
    shown = f"; OMP_NUM_THREADS={threads}" if threads else ""
    return Line("ok", "cores", f"{finding}{shown}")


def judge_waiting(policy: str | None) -> Line:
    """Whether threads that wait leave their core to others."""
    name = f"OMP_WAIT_POLICY={policy}" if policy else "OMP_WAIT_POLICY is not set"
    if (policy or "").upper() == "PASSIVE":
        return Line("ok", "waiting", f"{name}: threads that wait leave their core to others")
    if policy and policy.upper() != "ACTIVE":
        mend = "export OMP_WAIT_POLICY=PASSIVE"
        return Line("MEND", "waiting", f"{name}: it is PASSIVE or ACTIVE", mend)
    finding = (
        f"{name}: threads that wait spin, which slows a machine that others use too; the commands "
        + ("do as you say" if policy else "set it themselves, scripts of your own do not")
    )
    return Line("note", "waiting", finding, "export OMP_WAIT_POLICY=PASSIVE")


def look_at_memory() -> Iterator[Line]:
    """Main memory that is free, also within a container's limit."""
    free = free_memory()
    if free is not None:
        yield judge_space("memory", free, LEAST_MEMORY, "close other programs, or take --workers 0")


def free_memory() -> int | None:
    """Bytes; None where the system does not say."""
    free = None
    with contextlib.suppress(OSError, StopIteration, ValueError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        free = 1024 * next(int(ln.split()[1]) for ln in lines if ln.startswith("MemAvailable:"))
    with contextlib.suppress(OSError, ValueError):
        group = Path("/sys/fs/cgroup")
        limit = int((group / "memory.max").read_text())  # "max" where there is none
        left = limit - int((group / "memory.current").read_text())
        free = left if free is None else min(free, left)
    return free


def look_at_disk() -> Iterator[Line]:
    """The disk of the working folder, where work_dirs/ goes, and shared memory."""
    here = Path.cwd()
    mend = "make room, or run where there is more (--work-dir, --out)"
    yield judge_space("disk", shutil.disk_usage(here).free, LEAST_DISK, mend, f" in {here}")
    shared = Path("/dev/shm")
    if shared.is_dir():
        mend = "docker run --shm-size 8g ..., or mount -o remount,size=8g /dev/shm"
        size = shutil.disk_usage(shared).free
        yield judge_space("shared", size, LEAST_SHARED, mend, " in /dev/shm, for loader processes")


def judge_space(topic: str, free: int, least: int, mend: str, where: str = "") -> Line:
    """Whether so many bytes are enough."""
    finding = f"{free / GB:.1f} GB free{where}"
    if free < least:
        return Line("MEND", topic, f"{finding}; {least / GB:g} GB are the least", mend)
    return Line("ok", topic, finding)


def version_of(names: tuple[str, ...]) -> str:
    """Name and version of the first distribution that is installed; nothing for none."""
    for name in names:
        with contextlib.suppress(metadata.PackageNotFoundError):
            return f"{name} {metadata.version(name)}"
    return ""


def first_line(error: BaseException) -> str:
    """What an error says, shortly."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def quietly(function: Callable, *arguments: Any) -> Any:
    """Calls a function; what hosts print and warn meanwhile, while imported, stays unseen."""
    with warnings.catch_warnings(), open(os.devnull, "w") as nowhere:
        warnings.simplefilter("ignore")
        with contextlib.redirect_stdout(nowhere), contextlib.redirect_stderr(nowhere):
            return function(*arguments)


LOOKS: tuple[Callable[[], Iterator[Line]], ...] = (
    *(look_at_python, look_at_cores, look_at_memory, look_at_disk),
    *(look_at_stack, look_at_fine_tuning, look_at_gpu, look_at_extras),
)
