# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Saves pairs of views step by step, and says of each transform how often it changes an image."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # of a checkout that is not installed
import xmoco

if __name__ == "__main__":
    sys.exit(xmoco.run("browse_views"))
