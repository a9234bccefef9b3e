# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at the images and labels of a command, with a bar."""

import os
import sys
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from xmoco_plugin import pretraining as own
from xmoco_plugin.untrusted import printable


def look(paths: list[str], folder: Path, what: str, given: dict[str, Any]) -> own.Scan:
    """Scans, with a bar, or with a line at every tenth where there is no terminal."""
    screen, tenth = Console(stderr=True), [-1]
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task(what)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not screen.is_terminal and 10 * done // total > tenth[0]:
                tenth[0] = 10 * done // total
                print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

        workers, most = min(os.cpu_count() or 1, 8), given.get("max_pixels")
        return own.scan_images(paths, folder / "scan.jsonl", workers, show, most)


def compare_labels(labels: str, found: own.Scan, folder: Path, given: dict[str, Any]) -> list[str]:
    """How many labelled images there are of each class, and are trained on, in sentences.

    Raises:
        PretrainError: None of them can be read.
    """
    paths = own.list_images([labels], folder / "unpacked")
    labelled = look(paths, folder, "looking at the labels", given)
    if labelled.bad:
        path, reason = labelled.bad[0]
        listed = len(labelled.bad) + len(labelled.good)
        raise own.PretrainError(
            f"--labels {labels}: {len(labelled.bad):,} of {listed:,} images "
            "cannot be read, and none may be missing there; the first is "
            f"{printable(path)}: {reason}"
        )
    shared, images = own.overlap(labelled, found), len(labelled.good)
    text = (
        f"labels: {images:,} images for kNN, {shared:,} ({shared / images:.0%}) of them trained on"
    )
    rows = [f"labels, {row.part}: {row.text}" for row in own.survey_labels(labels)]
    return [text + (": without their labels, but kNN will flatter" if shared else ""), *rows]
