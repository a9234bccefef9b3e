# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Finds images that are the same or nearly, in a folder, and between it and a set for judging."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # of a checkout that is not installed
import xmoco

if __name__ == "__main__":
    sys.exit(xmoco.run("duplicates"))
