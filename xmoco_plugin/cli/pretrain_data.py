# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Looks at the images of a command, and at the labelled ones beside them, with a bar."""

import math
import os
import shutil
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import Progress

from xmoco_plugin import pretraining as own
from xmoco_plugin.untrusted import printable


def look(
    paths: list[str],
    folder: Path,
    what: str,
    given: dict[str, Any],
    side: int | None = None,
    channels: int | None = None,
) -> own.Scan:
    """Scans, with a bar; see :func:`with_bar`.

    Args:
        paths: Of the images.
        folder: That keeps what was found.
        what: Is done, for the bar.
        given: Options, of which the largest image is taken.
        side: Of the tiles that are trained on, in pixels.
        channels: That TIFFs are read with; None for pictures.
    """
    # Labelled images are looked at whole, and may be among the pictures.
    name = "scan.jsonl" if side is None else "scan_tiles.jsonl"
    cache = folder / (name if channels is None else "scan_channels.jsonl")
    workers, most = min(os.cpu_count() or 1, 8), given.get("max_pixels")
    return with_bar(
        what, lambda show: own.scan_images(paths, cache, workers, show, most, side, channels)
    )


def with_bar(what: str, scan: Callable[[Callable[[int, int], None]], own.Scan]) -> own.Scan:
    """A scan with a bar, or with a line every few seconds where there is no terminal."""
    screen, said = Console(stderr=True), [-math.inf]
    with Progress(console=screen, transient=True, disable=not screen.is_terminal) as bar:
        task = bar.add_task(what)

        def show(done: int, total: int) -> None:
            bar.update(task, completed=done, total=total)
            if not screen.is_terminal and time.monotonic() - said[0] > 5:
                said[0] = time.monotonic()
                print(f"{what}: {done:,} of {total:,}", file=sys.stderr, flush=True)

        return scan(show)


def look_for_training(paths: list[str], folder: Path, given: dict[str, Any]) -> own.Scan:
    """Scans what is trained on: pictures, or TIFFs of as many channels as all of them have.

    Fewer TIFFs of many channels than pictures are left out like what cannot be read, and counted.

    Raises:
        PretrainError: The channels differ between the files, or are not those that are asked for.
    """
    what, side = "looking at the images", given.get("tiles")
    return of_one_kind(
        lambda channels: look(paths, folder, what, given, side, channels), given.get("channels")
    )


def of_one_kind(
    scan: Callable[[int | None], own.Scan], asked: int | None, few: float = 1.0
) -> own.Scan:
    """A scan as of pictures, or anew as of TIFFs of as many channels as all files have.

    Args:
        scan: By the channels that TIFFs are read with; None for pictures.
        asked: Channels that the user asks for, if any.
        few: TIFFs of many channels to a picture, at most, that are left out with a note.

    Raises:
        PretrainError: The channels differ between the files, or are not those that are asked for.
    """
    found = scan(asked)
    may_leave_out = asked is None and len(found.kinds) <= few * len(found.good)
    if may_leave_out and (said := own.few_of_channels(found)):
        found.notes.append(said)
        return found
    channels = own.one_kind(found, asked)
    if channels and asked is None:
        found = scan(channels)
        own.one_kind(found, channels)
    return found


def compare_labels(
    labels: str, found: own.Scan, folder: Path, given: dict[str, Any]
) -> tuple[list[str], int | str]:
    """How many labelled images there are of each class, in sentences, and how many are trained on.

    Of these a sample says the least alone: "at least 3".

    Raises:
        PretrainError: One of them cannot be read, or all of those that kNN asks for are among
            those that it looks them up in.
    """
    paths = own.list_images([labels], folder / "unpacked")
    channels = found.channels and found.channels.number
    labelled = look(paths, folder, "looking at the labels", given, channels=channels)
    if labelled.bad:
        path, reason = labelled.bad[0]
        listed = len(labelled.bad) + len(labelled.good)
        raise own.PretrainError(
            f"--labels {labels}: {len(labelled.bad):,} of {listed:,} images "
            "cannot be read, and none may be missing there; the first is "
            f"{printable(path)}: {reason}"
        )
    known = _asked_and_known(labels, labelled)
    shared, images = own.overlap(labelled, found), len(labelled.good)
    known_of: int | str = shared
    text = (
        f"labels: {images:,} images for kNN, {shared:,} ({shared / images:.0%}) of them trained on"
    )
    if found.total is not None:
        known_of = f"at least {shared:,}"
        text = (
            f"labels: {images:,} images for kNN, {known_of} of them trained on: so many are in the "
            "sample, of the others it is not known"
        )
    elif shared:
        text += ": without their labels, but kNN will flatter, and kNN chooses the weights"
    text += known
    rows = [
        f"{'labels' if row.part == 'labels' else f'labels, {row.part}'}: {row.text}"
        for row in own.survey_labels(labels)
    ]
    return [text, *rows], known_of


def _asked_and_known(labels: str, labelled: own.Scan) -> str:
    """What to say of images that stand both in ``train/`` and in ``val/`` or ``test/``.

    Raises:
        PretrainError: All of those that are asked for do.
    """
    root = os.path.realpath(Path(labels).expanduser())
    digests: dict[str, set] = {"train": set(), "rest": set()}
    for path, digest in zip(labelled.good, labelled.digests, strict=True):
        part = Path(os.path.relpath(os.path.realpath(path), root)).parts[0]
        digests["train" if part == "train" else "rest"].add(digest)
    known = digests["train"] & digests["rest"]
    if not known:
        return ""
    text = (
        f"{len(known):,} of the {len(digests['rest']):,} images beside train/ are in train/ too, "
        "where kNN finds the image itself"
    )
    if len(known) == len(digests["rest"]):
        raise own.PretrainError(f"--labels {labels}: {text}. Take them out of one of the two.")
    return f"; {text}"


def ask_disk(folder: Path, needed: int, what: str) -> None:
    """Raises PretrainError where a folder's disk has fewer bytes free than are needed."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise own.PretrainError(
            f"{folder}: {needed / 1e9:.2f} GB are needed {what}, {free / 1e9:.2f} GB are free. "
            "Make room, or name an --out on another disk."
        )
