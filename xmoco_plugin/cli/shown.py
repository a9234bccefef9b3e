# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which log records concern a user: by who wrote them, and for hosts' warnings by a table."""

import functools
import logging
import os
import re
import site
import sys
import sysconfig
from pathlib import Path

import xmoco_plugin
from xmoco_plugin.cli.exits import PARENT

OURS = str(Path(xmoco_plugin.__file__).parent)
HOSTS = ("mmengine", "mmcv", "mmpretrain", "mmdet", "mmseg")
PRINTERS = (*HOSTS, "pycocotools", "xtcocotools")  # that report what they do by print()
# A host's bar: it is asked for, where somebody watches.
BAR = "progressbar.py"
# Beginnings of warnings of the hosts' logs that tell a user nothing to do: what the host itself
# calls by an old name, or a default that it takes.
DISMISSED = (
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias of "LocalBackend"',
    "The prefix is not set in metric class",
)
# An error of mmdet's log, early in a training the usual thing; of a fine-tuning that another
# command has started. That one says of its results that nothing was found.
DISMISSED_ERRORS = ("The testing results of the whole dataset is empty.",)
# And of Python's warnings, anywhere in them, which without a log would go to standard error.
DISMISSED_ANYWHERE = (
    "faster_coco_eval is not installed",
    "Only use 'alpha' for pillow backend",
    # Of a detector's head whose levels share layers, as RTMDet's: each has its rate all the same.
    " is duplicate. It is skipped since ",
)
# Python's warnings of libraries that are about this machine, or the loaders' settings.
ACTIONABLE = re.compile(
    r"DataLoader will create|\bcuda\b|nvidia|\bdriver\b|out of memory|shared memory|no space left|"
    r"\bpermission\b|too many open files",
    re.IGNORECASE,
)
# What a host prints, by its log without a logger above all, that is a warning for all that.
ALARM = re.compile(
    r"\b(warning|error|fail(ed|s|ure)?|do(es)? not match|mismatch|(missing|unexpected) keys?)\b",
    re.IGNORECASE,
)
DEPRECATION = re.compile(r"\b(Pending)?DeprecationWarning|\bFutureWarning")


def is_shown(record: logging.LogRecord) -> bool:
    """Whether a record of a run's log goes to the console, too.

    Errors do, but for :data:`DISMISSED_ERRORS` where another command reports of the run. Of
    warnings those of hosts do that :data:`DISMISSED` does not list, and Python's where they come
    from this package, from the user's code, or match :data:`ACTIONABLE`. Of all else what this
    package or the user's code wrote, unless it is marked as a detail.
    """
    library = is_library(record.pathname)
    if record.levelno >= logging.ERROR:
        for_another = library and PARENT in os.environ
        return not (for_another and record.getMessage().startswith(DISMISSED_ERRORS))
    if record.name == "py.warnings":
        text = record.getMessage()
        return not library or bool(ACTIONABLE.search(text) and not DEPRECATION.search(text))
    if record.levelno >= logging.WARNING:
        return not (library and is_dismissed(record.getMessage()))
    return not (library or getattr(record, "detail", False))


def is_dismissed(message: str) -> bool:
    """Whether a warning is of those that nobody can act on."""
    return message.startswith(DISMISSED) or any(part in message for part in DISMISSED_ANYWHERE)


def is_library(file: str) -> bool:
    """Whether code is installed here, and neither this package's nor of the user's own files."""
    if _below(file, (OURS,)):
        return False
    return file.startswith("<frozen") or _below(file, (*_installed(), *_folders(HOSTS)))


def is_printed_by_host(file: str) -> bool:
    """Whether what this file prints belongs into the log."""
    return _below(file, _folders(PRINTERS)) and Path(file).name != BAR


def _below(file: str, folders: tuple[str, ...]) -> bool:
    return any(file.startswith(f"{folder}/") for folder in folders)


@functools.cache
def _installed() -> tuple[str, ...]:
    paths = sysconfig.get_paths()
    found = {paths[kind] for kind in ("stdlib", "platstdlib", "purelib", "platlib")}
    return tuple(found | {site.getusersitepackages()})


def _folders(modules: tuple[str, ...]) -> tuple[str, ...]:
    """Of those modules that are imported: a checkout of a host may lie anywhere."""
    files = (getattr(sys.modules.get(name), "__file__", None) for name in modules)
    return tuple(str(Path(file).parent) for file in files if file)
