# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at this machine and its Python: what is right, and the command that mends what is not.

Ends with status 1 where something must be mended.
"""

import argparse


def add(parser: argparse.ArgumentParser) -> None:
    """There are no options beside --help."""
