# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from pathlib import Path

from .files import FileRefusedError, read_text
from .names import printable

POINTER = "last_checkpoint"  # the host's: the path of the checkpoint it wrote last
LIMIT = 1 << 16  # bytes; a path has 4,096 at most
SHOWN = 5  # checkpoints that a message names


def last_checkpoint(folder: str | Path, elsewhere: str | Path | None = None) -> Path | None:
    """The checkpoint that a run goes on from: the one of its own folder that the host noted last.

    The host notes an absolute path. A folder may have been moved or copied since, and may be
    anybody's: of the path, only the name counts.

    Args:
        folder: Of the run.
        elsewhere: A further folder, where the run's config keeps its checkpoints.

    Returns:
        The file; None where nothing was noted.

    Raises:
        FileRefusedError: What is noted cannot be read, or names no file there; says what to do.
    """
    folder = Path(folder)
    pointer = folder / POINTER
    if not os.path.lexists(pointer):
        return None
    try:
        noted = read_text(pointer, LIMIT).strip()
    except FileRefusedError as error:
        raise FileRefusedError(f"{printable(pointer)}: {error}. {_way_out(folder)}") from None
    path = Path(noted)
    if path.name and os.path.lexists(Path(folder, path.name)) and not _is_file(folder / path.name):
        raise FileRefusedError(
            f"{printable(pointer)} names {printable(path.name[:80])}, which is not a regular file: "
            f"a folder, a pipe, a device or a link to nothing. {_way_out(folder)}"
        )
    for place in [folder] if elsewhere is None else [folder, Path(elsewhere)]:
        away = place is not folder and not path.is_relative_to(place)
        if path.name and not away and _is_file(file := Path(place, path.name)):
            return file
    shown = repr(printable(path.name[:80])) if path.name else "nothing"
    raise FileRefusedError(
        f"{printable(pointer)} names {shown}, and there is no such file in {printable(folder)}. "
        f"{_way_out(folder)}"
    )


def _way_out(folder: Path) -> str:
    names = sorted(
        (
            file.name
            for file in folder.glob("*.pth")
            if file.name.startswith(("epoch_", "iter_")) and _is_file(file)
        ),
        key=lambda name: (len(name), name),
    )
    if not names:
        return "No checkpoint lies there: remove the file to begin anew."
    shown = ", ".join(printable(name) for name in names[-SHOWN:])
    return f"Write the name of a checkpoint into it (there: {shown}), or remove it to begin anew."


def _is_file(file: Path) -> bool:
    try:
        return file.is_file()
    except OSError:  # a name that is too long
        return False
