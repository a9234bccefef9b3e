# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The commands of xmoco, one file each, and what they share; `door.py` starts them."""
