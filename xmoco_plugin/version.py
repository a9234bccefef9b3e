# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The version, readable without importing the package (setup.py does)."""

__version__ = "0.1.0"
