# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a walk of a documented way needs: small data, the command line, the lines of a run."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from ..tool_modules import ROOT

FAST = ["--batch-size", 4, "--epochs", 1, "--workers", 0, "--seed", 0]
COLOURS = {"red": (200, 40, 40), "green": (40, 200, 40), "blue": (40, 40, 200)}


def draw(root: Path, size: int = 64, each: int = 6) -> Path:
    """Pictures of three colours in train/ and val/, a folder a class."""
    for split in ("train", "val"):
        for number, (name, colour) in enumerate(COLOURS.items()):
            for i in range(each):
                rng = np.random.default_rng(100 * number + i + 7 * len(split))
                pixels = np.array(colour) + rng.integers(-30, 30, (size, size, 3))
                file = root / split / name / f"{i}.png"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(file)
    return root


def xmoco(*words: object, **env: str) -> subprocess.CompletedProcess:
    """The command line, from another folder, as a user has it; it must succeed."""
    return shell(shlex.join([sys.executable, "-m", "xmoco", *map(str, words)]), **env)


def shell(line: str, **env: str) -> subprocess.CompletedProcess:
    """Carries out a line; it must succeed."""
    done = subprocess.run(
        ["bash", "-c", line],
        env={**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", **env},
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=1800,
    )
    assert done.returncode == 0, f"{line}\n{(done.stdout + done.stderr)[-4000:]}"
    return done


def blocks(page: str, language: str) -> list[str]:
    """The fenced blocks of a text in a language."""
    return re.findall(rf"^```{language}\n(.*?)^```", page, re.DOTALL | re.MULTILINE)
