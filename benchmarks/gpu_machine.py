# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Parts of gpu_run.sh: what the machine is, and the tests that need its GPU."""

import importlib.metadata
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
VERSIONS = (
    "numpy",
    "torchvision",
    "triton",
    "mmengine",
    "onedl-mmengine",
    "mmcv",
    "mmcv-lite",
    "onedl-mmcv",
    "mmpretrain",
    "onedl-mmpretrain",
    "opencv-python",
    "opencv-python-headless",
    "kornia",
    "nvidia-dali-cuda120",
    "nvidia-dali-cuda130",
)
MARK = "pytest.mark.gpu"


def machine(part: Any) -> None:
    """Machine, versions and commit; and whether there is a GPU at all, and the stack."""
    import torch

    cuda = torch.cuda.is_available()
    part.row(torch=torch.__version__, cuda=cuda)
    if not cuda and not part.rehearsal:
        return
    import measure

    import xmoco_plugin  # raises where the stack is not there

    facts = measure.environment(part.device) | dict(plugin=xmoco_plugin.__version__)
    facts["memory GB"] = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9)
    if Path("/dev/shm").exists():  # where the workers' batches lie
        facts["/dev/shm GB"] = round(shutil.disk_usage("/dev/shm").total / 1e9, 1)
    facts |= {name: found for name in VERSIONS if (found := _version(name))}
    if part.device == "cuda":
        properties = torch.cuda.get_device_properties(0)
        facts["device memory GB"] = round(properties.total_memory / 1e9, 1)
        facts["CUDA"], facts["cuDNN"] = torch.version.cuda, torch.backends.cudnn.version()
        facts["driver"] = _driver()
    part.row(**facts)


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _driver() -> str:
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=10)
    except (OSError, subprocess.TimeoutExpired):
        return "unknown"
    return done.stdout.split("\n")[0].strip() or "unknown"


class Reporter:
    """Pytest's plugin: each test's outcome is written when it is there."""

    def __init__(self, part: Any) -> None:
        self.part = part

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Of a test; of its setup and teardown only where they decide."""
        if report.when == "call" or report.outcome != "passed":
            self._write(report)

    def pytest_collectreport(self, report: Any) -> None:
        """Of a file that cannot be read, so that its tests are not missing without a word."""
        if report.outcome != "passed":
            self._write(report)

    def _write(self, report: Any) -> None:
        row = dict(test=report.nodeid, outcome=report.outcome)
        if hasattr(report, "duration"):
            row["s"] = round(report.duration, 1)
        if report.outcome == "skipped" and isinstance(report.longrepr, tuple):
            row["why"] = str(report.longrepr[2])
        elif report.outcome == "failed":
            crash = getattr(report.longrepr, "reprcrash", None)
            text = crash.message if crash else str(report.longrepr)
            row["why"] = " ".join(text.split())[:300]
        self.part.row(**row)


def files(root: Path = ROOT) -> list[str]:
    """The test files that have tests for a GPU: the others need not be imported."""
    found = sorted((root / "tests").rglob("test_*.py"))
    return [str(f.relative_to(root)) for f in found if f"\n@{MARK}\n" in f.read_text()]


def tests(part: Any) -> None:
    """``pytest -m gpu``: several tests at a time where pytest-xdist is there."""
    import pytest

    words = ["-m", "gpu", "-p", "no:cacheprovider", "--rootdir", str(ROOT), *files()]
    words.append("--continue-on-collection-errors")  # one file that fails is not all of them
    if _version("pytest-timeout"):
        words += ["--timeout", str(max(int(part.left()) - 5, 1))]
    if _version("pytest-xdist") and not part.rehearsal:
        # Most of the time goes to importing and compiling, which several cores share.
        words += ["-n", "4"]
    os.chdir(ROOT)
    sys.path.insert(0, str(ROOT))
    code = pytest.main(words, plugins=[Reporter(part)])
    if code not in (pytest.ExitCode.OK, pytest.ExitCode.TESTS_FAILED):
        part.note(f"pytest ended with {pytest.ExitCode(code).name}")
