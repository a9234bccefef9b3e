# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What holds for every test: the host's global instances are left as they were found.

A runner leaves its default scope, logger, message hub and visualizer in the process. A scope left
at mmseg hides our classes from the next test of the worker. A run that starts in the same second
as the one before bears the same name, gets its logger and writes to a stream that is closed.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from . import format_once

MANAGERS = (
    ("mmengine.registry", "DefaultScope"),
    ("mmengine.logging", "MMLogger"),
    ("mmengine.logging", "MessageHub"),
    ("mmengine.visualization", "Visualizer"),
)


def managers() -> dict[str, type]:
    """The host's classes that keep their instances by name, as far as they are imported."""
    # Not imported here: tests of a quick start must not pay for it.
    found = {name: getattr(sys.modules.get(module), name, None) for module, name in MANAGERS}
    return {name: manager for name, manager in found.items() if manager is not None}


@contextmanager
def instances_restored() -> Iterator[None]:
    before = {name: manager._instance_dict.copy() for name, manager in managers().items()}
    yield
    for name, manager in managers().items():
        kept = manager._instance_dict
        manager._instance_dict = before[name] if name in before else type(kept)()


@pytest.fixture(autouse=True, scope="session")
def configs_formatted_once() -> None:
    if "mmengine.config" in sys.modules:
        format_once.install()


@pytest.fixture(autouse=True, scope="module")
def instances_as_found_by_the_module(configs_formatted_once: None) -> Iterator[None]:
    with instances_restored():
        yield


@pytest.fixture(autouse=True)
def instances_as_found_by_the_test(instances_as_found_by_the_module: None) -> Iterator[None]:
    with instances_restored():
        yield
