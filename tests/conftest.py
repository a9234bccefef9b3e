# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What holds for every test: the host's default scope is left as it was found.

A runner sets it for the whole process. Left at mmseg by one test, it hides our classes from the
next one, on whichever worker the two happen to meet.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest


@contextmanager
def _scope_restored() -> Iterator[None]:
    # Not imported here: tests of a quick start must not pay for it.
    before = sys.modules.get("mmengine.registry")
    found = before.DefaultScope._instance_dict.copy() if before else {}
    yield
    if after := sys.modules.get("mmengine.registry"):
        after.DefaultScope._instance_dict = type(after.DefaultScope._instance_dict)(found)


@pytest.fixture(autouse=True, scope="module")
def scope_as_found_by_the_module() -> Iterator[None]:
    with _scope_restored():
        yield


@pytest.fixture(autouse=True)
def scope_as_found_by_the_test(scope_as_found_by_the_module: None) -> Iterator[None]:
    with _scope_restored():
        yield
