# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from mmengine.dist import is_main_process
from rich.console import Console
from rich.progress import Progress

# Until the first line and from one to the next, where there is no terminal (ours).
FIRST_SECONDS, EVERY_SECONDS = 3.0, 10.0


def watched(
    items: Iterable[Any], name: str, show: bool, total: int | None = None, least: int = 2
) -> Iterator[Any]:
    """The items; on a terminal with a bar, which is gone at the end, else with a line now and then.

    Args:
        items: what to hand on.
        name: stands before the bar.
        show: False for neither; there is none either on other ranks.
        total: how many there are; default ``len(items)``.
        least: fewer than these get none.
    """
    number = len(items) if total is None else total  # type: ignore[arg-type]
    if not show or number < least or not is_main_process():
        yield from items
        return
    console = Console()
    if console.is_terminal and not console.is_dumb_terminal:
        with Progress(console=console, transient=True, redirect_stdout=False) as bar:
            task = bar.add_task(name, total=number)
            for item in items:
                yield item
                bar.advance(task)
        return
    due = time.monotonic() + FIRST_SECONDS
    for done, item in enumerate(items, start=1):
        yield item
        if time.monotonic() >= due:
            due = time.monotonic() + EVERY_SECONDS
            print(f"{name}: {done:,} of {number:,}", file=sys.stderr, flush=True)
