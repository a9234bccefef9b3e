# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes a checkpoint's backbone as another library reads it: weights only, and where from."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # of a checkout that is not installed
import xmoco

if __name__ == "__main__":
    sys.exit(xmoco.run("export_backbone"))
