# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fine-tunes a checkpoint in mmdet or mmseg, tests it, and prints its row of a table."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # of a checkout that is not installed
import xmoco

if __name__ == "__main__":
    sys.exit(xmoco.run("transfer"))
