# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The newest checkpoint of a run's folder that is whole, where the last one may not be."""

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from ..untrusted import FileRefusedError, last_checkpoint, printable
from .container import check_file, is_zip
from .errors import CheckpointError

TIMED_NAME = "epoch_{epoch}_iter_{iter}.pth"  # of a checkpoint that comes by the clock
NAME = re.compile(r"(?:epoch_(\d{1,9})(?:_iter_(\d{1,9}))?|iter_(\d{1,9}))\.pth")


class GoOn(NamedTuple):
    """Where a run goes on.

    Attributes:
        checkpoint: The file; None where nothing was noted, or nothing whole is left.
        passed_over: Files that come later and are not whole, each with the reason.
        pointer: What is wrong with ``last_checkpoint``, a sentence; None where nothing is.
    """

    checkpoint: Path | None
    passed_over: list[tuple[Path, str]]
    pointer: str | None

    def said(self) -> list[str]:
        """What is not as the run noted it, a line each."""
        start = f"going on from {self.checkpoint.name}" if self.checkpoint else "beginning anew"
        reasons = [self.pointer] if self.pointer else []
        reasons += [reason for _, reason in self.passed_over]
        return [f"warning: {printable(reason)} {start}" for reason in reasons]


def go_on_from(folder: str | Path, elsewhere: str | Path | None = None) -> GoOn:
    """The checkpoint that was noted last, or the newest whole one before it.

    A machine that goes down, or a disk that is full, leaves a checkpoint that is cut off or a
    ``last_checkpoint`` that is empty. Nothing is changed here.

    Args:
        folder: Of the run.
        elsewhere: A further folder, where the run's config keeps its checkpoints.

    Raises:
        FileRefusedError: Nothing can be read in ``last_checkpoint``, and there is no checkpoint
            whose number would tell that it is the newest.
    """
    pointer = None
    try:
        last = last_checkpoint(folder, elsewhere)
    except FileRefusedError as error:
        last = newest_before(Path(folder), None)
        if last is None:
            raise
        pointer = f"{str(error).split('. Write the name')[0]};"
    passed_over = []
    while last is not None and (reason := fault(last)):
        passed_over.append((last, f"{reason};"))
        last = newest_before(last.parent, last)
    return GoOn(last, passed_over, pointer)


class Place(NamedTuple):
    """How far a checkpoint is, by its name; None where the name does not say."""

    epoch: int | None
    iteration: int | None

    @classmethod
    def of(cls, file: Path) -> "Place | None":
        """Of ``epoch_E.pth``, ``iter_I.pth`` or ``epoch_E_iter_I.pth``."""
        match = NAME.fullmatch(file.name)
        if match is None:
            return None
        epoch, iteration = match[1], match[2] or match[3]
        return cls(*(None if number is None else int(number) for number in (epoch, iteration)))

    def order(self, other: "Place") -> int | None:
        """Below 0 where it comes before the other; None where nobody can tell."""
        if self.iteration is not None and other.iteration is not None:
            return self.iteration - other.iteration
        if self.epoch is None or other.epoch is None:
            return None
        # An epoch's own checkpoint comes before those of the epoch that follows it.
        later = int(self.iteration is not None) - int(other.iteration is not None)
        return self.epoch - other.epoch or later


def is_timed(file: Path) -> bool:
    """Whether a checkpoint came by the clock, in the middle of an epoch: it is soon gone."""
    place = Place.of(file)
    return place is not None and None not in place


def newest_before(folder: Path, last: Path | None) -> Path | None:
    """The checkpoint that comes last of those before `last`; None where none can be told.

    Epochs and iterations are not compared: without `last`, any two must be comparable.
    """
    places = {f: p for f in folder.glob("*.pth") if (p := Place.of(f)) and f.is_file()}
    if last is not None:
        end = Place.of(last)
        if end is None:
            return None
        places = {f: p for f, p in places.items() if (o := p.order(end)) is not None and o < 0}
    # A place is told from every other one where all have an epoch, or all an iteration.
    told = [*places.values()]
    if all(place.iteration is not None for place in told):
        key = _by_iteration
    elif all(place.epoch is not None for place in told):
        key = _by_epoch
    else:
        return None
    return max(places, key=lambda file: key(places[file]), default=None)


def _by_iteration(place: Place) -> tuple[int, ...]:
    return (place.iteration or 0,)


def _by_epoch(place: Place) -> tuple[int, ...]:
    # As Place.order has it: an epoch's own checkpoint comes before those of the epoch behind it.
    return place.epoch or 0, int(place.iteration is not None), place.iteration or 0


def fault(checkpoint: Path) -> str | None:
    """Why a file is not whole, in a few words; None for one whose every record is as written."""
    try:
        size = check_file(checkpoint)
    except CheckpointError as error:
        return str(error).split(". ")[0].rstrip(".")
    shown = printable(checkpoint)
    if not is_zip(checkpoint):
        return f"{shown} is damaged: torch.save writes no such file"
    try:
        with zipfile.ZipFile(checkpoint) as archive:
            if sum(record.file_size for record in archive.infolist()) > size:
                return f"{shown} is damaged: its records are larger than the file"
            bent = archive.testzip()
    except Exception as error:  # a bent file leads zipfile to whatever error
        return f"{shown} is damaged: {printable(str(error)[:100])}"
    return f"{shown} is damaged: {printable(bent[:100])} is not as it was written" if bent else None
