# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A part of the report that fails is named, and the rest is drawn."""

from collections.abc import Callable
from typing import Any, TypeVar

from ...untrusted import printable
from .work_dir import WorkDir

T = TypeVar("T")


class NotDrawnError(ValueError):
    """Why a figure makes no sense for a run; the message is for its reader."""


def attempt(run: WorkDir, what: str, work: Callable[..., T], *arguments: Any) -> T | None:
    """What ``work`` returns; None where it fails, which is noted in ``run.missing``."""
    try:
        return work(*arguments)
    except Exception as error:  # any fault of a half-gone run, or of a stranger's
        run.missing.append(f"{what[0].upper()}{what[1:]}: {describe(error)}")
        return None


def describe(error: BaseException) -> str:
    """The first lines of an error, with its kind where it is not one of ours."""
    text = printable(" ".join(str(error).split())[:400]) or "no message"
    ours = type(error).__module__.startswith("xmoco_plugin")
    return text if ours else f"{type(error).__name__}: {text}"
