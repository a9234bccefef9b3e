# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""train.py with what it shares with test.py, and a config with images to run it on."""

from pathlib import Path

import pytest

from ..tool_modules import import_tool
from ..tools_config import draw


@pytest.fixture(scope="module")
def tools():
    """The modules train and common."""
    return import_tool("train"), import_tool("common")


@pytest.fixture
def config(tmp_path) -> Path:
    return draw(tmp_path)


@pytest.fixture
def images(config) -> Path:
    return config.parent / "images"
