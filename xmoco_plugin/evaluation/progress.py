# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import sys
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.dist import is_main_process
from mmengine.utils import ProgressBar


def watched(
    items: Iterable[Any], name: str, show: bool, total: int | None = None, least: int = 50
) -> Iterator[Any]:
    """The items, with the host's bar where somebody may be watching.

    Args:
        items: what to hand on.
        name: stands before the bar.
        show: False for no bar; there is none either on other ranks or where stdout is no terminal.
        total: how many there are; default ``len(items)``.
        least: fewer than these get no bar; shorter passes end before it says anything (ours).
    """
    number = len(items) if total is None else total  # type: ignore[arg-type]
    show = show and number >= least and is_main_process() and sys.stdout.isatty()
    if show:
        sys.stdout.write(f"{name}: ")
        bar = ProgressBar(number)
    for item in items:
        yield item
        if show:
            bar.update()
    if show:
        sys.stdout.write("\n")
