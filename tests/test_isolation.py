# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A test leaves none of the host's named instances in the process (tests/conftest.py)."""

from mmengine.logging import MessageHub, MMLogger
from mmengine.registry import DefaultScope
from mmengine.visualization import Visualizer

from .conftest import instances_restored, managers


def names() -> list[list[str]]:
    return [sorted(manager._instance_dict) for manager in managers().values()]


def test_what_a_run_leaves_is_taken_back():
    before = names()
    with instances_restored():
        for manager in (MMLogger, MessageHub, Visualizer):
            manager.get_instance("left_behind")
        DefaultScope.get_instance("left_behind", scope_name="mmseg")
        assert all("left_behind" in kept for kept in names())
    assert names() == before


def test_what_stood_before_stays():
    hub = MessageHub.get_instance("of_the_module")
    with instances_restored():
        MMLogger.get_instance("of_the_test")
    assert MessageHub.get_instance("of_the_module") is hub
