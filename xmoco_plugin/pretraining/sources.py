# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a user names as data -> paths of image files: folders, lists, archives, single images."""

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..data import find_images
from ..data.shards import INDEX, check_url
from ..untrusted import (
    FileRefusedError,
    FolderError,
    count_endings,
    holds_image,
    open_regular,
    printable,
    refusal,
)
from ..untrusted.files import TEXT_LIMIT
from ..untrusted.image_formats import ENDINGS
from .archives import ARCHIVES, unpack
from .errors import PretrainError

LISTS = (".txt", ".lst")


def check_source(source: str, shards: bool = False) -> str | None:
    """Why something cannot be data, in a sentence; None where it can.

    Args:
        source: What the user has named.
        shards: Whether it may be a set of shards.
    """
    if shards and "://" in source:
        return (why := check_url(source)) and f"--data {why}"
    path = Path(source).expanduser()
    if not path.exists():
        return f"--data {source}: there is no such file or folder (looked from {Path.cwd()})."
    known = (*LISTS, *ARCHIVES, *ENDINGS)
    by_name = path.is_dir() or path.name.lower().endswith(known)
    if not by_name and not holds_image(path):
        return (
            f"--data {source}: a file is taken as a list of images ({', '.join(LISTS)}), an "
            f"archive ({', '.join(ARCHIVES)}) or an image; this name ends in none of "
            "them, and it holds no image."
        )
    if not os.access(path, os.R_OK):
        return f"--data {source}: no permission to read it."
    return None


def is_shards(source: str) -> bool:
    """Whether it is a set of shards: a URL, or a folder with the index of one."""
    return "://" in source or os.path.isfile(os.path.join(os.path.expanduser(source), INDEX))


def is_archive(source: str) -> bool:
    """Whether it has to be unpacked."""
    return source.lower().endswith(ARCHIVES) and not os.path.isdir(os.path.expanduser(source))


def list_images(
    sources: Sequence[str],
    unpacked: Path,
    max_unpacked: float | None = None,
    max_members: int | None = None,
    notes: list[str] | None = None,
) -> list[str]:
    """Absolute paths of every image that the sources name, each once, in their order.

    Args:
        sources: Folders (searched to any depth, links followed), text files with one path a line
            (relative to the file), tar or zip archives, images.
        unpacked: Folder for what is in archives; what lies there whole and unchanged is kept.
        max_unpacked: GB that may come out of an archive. Defaults to what :func:`unpack` has.
        max_members: That an archive may list. Defaults to what :func:`unpack` has.
        notes: Gets a sentence for each archive and folder of which something was left out.

    Raises:
        PretrainError: A list that names a missing file, an archive that is damaged, above a limit
            or has no image.
        FileNotFoundError: A folder without images; the message counts what is there.
    """
    found: dict[str, None] = {}
    for source in sources:
        path = os.path.abspath(os.path.expanduser(source))
        if is_archive(path):
            limit = int(max_unpacked * 1e9) if max_unpacked else None
            archive = unpack(Path(path), unpacked, limit, max_members, _say)
            path = str(archive.folder)
            if archive.note and notes is not None:
                notes.append(archive.note)
        if os.path.isdir(path):
            try:
                others: list[str] = []
                names = find_images(path, others=others)
            except FolderError as error:
                raise PretrainError(str(error)) from error
            found |= dict.fromkeys(os.path.join(path, name) for name in names)
            if others and notes is not None:
                notes.append(passed_over(path, others))
        elif path.lower().endswith(LISTS):
            found |= dict.fromkeys(_listed(path))
        else:
            found[path] = None
    return list(found)


def passed_over(folder: str, others: Sequence[str]) -> str:
    """What of a folder was passed over, in a sentence."""
    return (
        f"passed over in {printable(folder)}, no images: {len(others):,} "
        f"file{'s' * (len(others) > 1)}: {printable(count_endings(others))}"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def _listed(path: str) -> Iterator[str]:
    try:
        with open_regular(path, TEXT_LIMIT) as file:
            for number, line in enumerate(file, 1):
                if name := os.fsdecode(line.strip()):
                    full = os.path.join(os.path.dirname(path), os.path.expanduser(name))
                    if reason := refusal(full):
                        what = (
                            f"there is no file {printable(full)}"
                            if reason == "no such file"
                            else f"{printable(full)}: {reason}"
                        )
                        raise PretrainError(f"{printable(path)}, line {number}: {what}")
                    yield full
    except FileRefusedError as error:
        raise PretrainError(f"the list {printable(path)} cannot be read: {error}") from error
