# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes train.npz and test.npz, as NpzImages reads them, from CIFAR-10's Python files."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # of a checkout that is not installed
import xmoco

if __name__ == "__main__":
    sys.exit(xmoco.run("cifar10_to_npz"))
