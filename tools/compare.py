# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which weights are the best start of a detector or segmentor: paired fine-tunings, a verdict."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1]))  # of a checkout that is not installed
import xmoco

if __name__ == "__main__":
    sys.exit(xmoco.run("compare"))
