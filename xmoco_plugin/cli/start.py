# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs a command whose line is parsed, once the hosts are there."""

import argparse
import warnings
from functools import partial
from types import ModuleType

from mmengine.config import DictAction

from xmoco_plugin.cli import exits


def run(module: ModuleType, args: argparse.Namespace) -> int:
    """Runs a command's `main`; returns the exit status, as :func:`exits.run` has it."""
    return exits.run(partial(_main, module, args))


def _main(module: ModuleType, args: argparse.Namespace) -> None:
    # mmcv's notice to those who used its Hsigmoid of years ago.
    warnings.filterwarnings("ignore", "In MMCV v1.4.4, we modified the default")
    read_config_options(args)
    module.main(args)


def read_config_options(args: argparse.Namespace) -> None:
    """Turns the words of --cfg-options into the dict that mmengine's DictAction makes of them.

    Raises:
        ValueError: DictAction cannot read one.
    """
    words = getattr(args, "cfg_options", None)
    if words is None:
        return
    action = DictAction(option_strings=["--cfg-options"], dest="cfg_options", nargs="+")
    args.cfg_options = None
    for word in words:
        try:
            action(None, args, [word])
        except (AssertionError, ValueError, RecursionError) as error:
            raise ValueError(f"--cfg-options {word}: {error}") from error
