# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What holds for every test: its place, and the host's global instances as they were found.

A runner leaves its default scope, logger, message hub and visualizer in the process. A scope left
at mmseg hides our classes from the next test of the worker. A run that starts in the same second
as the one before bears the same name, gets its logger and writes to a stream that is closed.
"""

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from . import format_once

# Files and folders that take from a quarter of a minute to minutes, by that. At the end of the
# others, one would run alone beside an idle core.
LONGEST = (
    "pretrain_tool",
    "hostile/test_walk.py",
    "transfer/test_transfer_tool.py",
    "hooks/test_verdicts.py",
    "visualization/report",
    "elastic/test_machines.py",
    "test_dist_train.py",
    "benchmarks/test_gpu_run.py",
    "test_gpu_stand_in.py",
    "test_packaging.py",
    "test_yapf_cache.py",
)
# Folders whose files share a run that takes a while to make: one worker has them all.
TOGETHER = ("tests/pretrain_tool/", "tests/visualization/report/")
MANAGERS = (
    ("mmengine.registry", "DefaultScope"),
    ("mmengine.logging", "MMLogger"),
    ("mmengine.logging", "MessageHub"),
    ("mmengine.visualization", "Visualizer"),
)
PASSED = pytest.StashKey[bool]()
WEIGHTS = (".pth", ".pt", ".safetensors")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Puts the longest files first; Makefile keeps pytest-xdist from an order of its own."""
    places = [Path(__file__).parent / name for name in LONGEST]

    def place(item: pytest.Item) -> int:
        found = (i for i, path in enumerate(places) if path in (item.path, *item.path.parents))
        return next(found, len(places))

    items.sort(key=place)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log):
    """Hands out whole files, as pytest-xdist's loadfile, and some folders as if they were files."""
    if config.getoption("dist") != "loadfile":
        return None
    from xdist.scheduler import LoadFileScheduling

    class ByRun(LoadFileScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = super()._split_scope(nodeid)
            return next((folder for folder in TOGETHER if file.startswith(folder)), file)

    return ByRun(config, log)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo):
    """Removes the weights in the folder of a test that passed: 15 GB of them, at the end of all.

    The folder itself stays: the host keeps a visualizer for its process, and with it the folder of
    an earlier test. A folder that a whole file shares (`tmp_path_factory`) is left as it is.
    """
    report = yield
    if report.when == "call":
        item.stash[PASSED] = report.passed
    elif report.when == "teardown" and report.passed and item.stash.get(PASSED, False):
        for parent, _, names in os.walk(getattr(item, "funcargs", {}).get("tmp_path", "")):
            for name in (name for name in names if name.endswith(WEIGHTS)):
                Path(parent, name).unlink(missing_ok=True)
    return report


def managers() -> dict[str, type]:
    """The host's classes that keep their instances by name, as far as they are imported."""
    # Not imported here: tests of a quick start must not pay for it.
    found = {name: getattr(sys.modules.get(module), name, None) for module, name in MANAGERS}
    return {name: manager for name, manager in found.items() if manager is not None}


@contextmanager
def instances_restored() -> Iterator[None]:
    before = {name: manager._instance_dict.copy() for name, manager in managers().items()}
    try:
        yield
    finally:
        if distributed := sys.modules.get("xmoco_plugin.distributed"):
            distributed.seed_of_run(None)  # of a run that was left in the middle
        for name, manager in managers().items():
            kept = manager._instance_dict
            manager._instance_dict = before[name] if name in before else type(kept)()


def leave_out_of_collections() -> None:
    """What there is by now is looked through no more when garbage is collected.

    The host collects for each dataset that it builds: a third of a second, and more in a process
    that has imported and compiled much.
    """
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def configs_formatted_once() -> None:
    if "mmengine.config" in sys.modules:
        format_once.install()


@pytest.fixture(autouse=True, scope="module")
def instances_as_found_by_the_module(configs_formatted_once: None) -> Iterator[None]:
    leave_out_of_collections()
    with instances_restored():
        yield


@pytest.fixture(autouse=True)
def instances_as_found_by_the_test(instances_as_found_by_the_module: None) -> Iterator[None]:
    with instances_restored():
        yield
