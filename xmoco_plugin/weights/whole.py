# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The newest checkpoint of a run's folder that is whole, where the last one may not be."""

import re
import zipfile
from pathlib import Path
from typing import NamedTuple

from ..untrusted import FileRefusedError, last_checkpoint, printable
from .container import check_file, is_zip
from .errors import CheckpointError

NAME = re.compile(r"(epoch|iter)_(\d{1,9})\.pth")


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


def newest_before(folder: Path, last: Path | None) -> Path | None:
    """The checkpoint of the largest number below that of `last`; None where none can be told.

    Epochs and iterations are not compared: without `last`, all must be of one kind.
    """
    numbers: dict[str, dict[int, Path]] = {}
    for file in folder.glob("*.pth"):
        if (match := NAME.fullmatch(file.name)) and file.is_file():
            numbers.setdefault(match[1], {})[int(match[2])] = file
    if last is None:
        found = next(iter(numbers.values())) if len(numbers) == 1 else {}
    else:
        match = NAME.fullmatch(last.name)
        kind, number = (match[1], int(match[2])) if match else ("", 0)
        found = {n: file for n, file in numbers.get(kind, {}).items() if n < number}
    return found[max(found)] if found else None


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
