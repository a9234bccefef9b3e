# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs evaluate.py in this process, on images of noise around a colour."""

import numpy as np

from ..tool_modules import run_tool

COLOURS = {"blue": (40, 60, 190), "green": (50, 180, 60), "red": (200, 60, 40)}
FAST = ["--workers", "0", "--jobs", "1", "--image-size", "8", "--epochs", "5", "--k", "3"]


def noise(colour, random) -> np.ndarray:
    return np.clip(colour + random.normal(0, 40, (10, 12, 3)), 0, 255).astype(np.uint8)


def run(tool, monkeypatch, *arguments) -> int:
    return run_tool(tool, monkeypatch, *arguments, *FAST)
