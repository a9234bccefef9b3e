# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""train.py with what it shares with test.py, and a config with images to run it on."""

import importlib
import sys
from pathlib import Path

import pytest

from ..tool_modules import TOOLS, load_tool
from ..tools_config import draw


@pytest.fixture(scope="module")
def tools():
    """The modules train and common of tools/, which is no package."""
    sys.path.insert(0, str(TOOLS))
    try:
        yield load_tool("train"), importlib.import_module("common")
    finally:
        sys.path.remove(str(TOOLS))


@pytest.fixture
def config(tmp_path) -> Path:
    return draw(tmp_path)


@pytest.fixture
def images(config) -> Path:
    return config.parent / "images"
