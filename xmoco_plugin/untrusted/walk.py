# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The one walk through a folder on this machine: what is hidden, what links do, what is odd."""

import os
from collections import Counter
from collections.abc import Collection, Iterator, Sequence

from .files import FileRefusedError, open_regular
from .image_formats import ENDINGS, HEAD, is_image

# Folders and files of systems and of other programs, beside what begins with a dot: Synology's
# thumbnails, macOS's forks in zips, bins. In lower case.
OF_SYSTEMS = frozenset(
    (
        *("__macosx", "@eadir", "#recycle", "$recycle.bin", "system volume information"),
        *("lost+found", "thumbs.db", "desktop.ini", "__pycache__"),
    )
)
# Files of one ending that are opened to see whether they are images (ours): where so many are
# none, the rest of a million labels are none either, and are counted.
LOOKED_AT = 1000


class FolderError(OSError):
    """A folder that cannot be read through; the message names it."""


def is_hidden(name: str) -> bool:
    """Whether a file or folder of this name is no data: hidden, or of a system."""
    return name.startswith(".") or name.lower() in OF_SYSTEMS


def folders_in(root: str | os.PathLike) -> list[str]:
    """Sorted names of the visible folders in a folder, links to folders too.

    Raises:
        FolderError: The folder cannot be read.
    """
    return sorted(name for name, is_folder in _listed(os.fspath(root)) if is_folder)


def count_endings(files: Sequence[str], most: int = 5, as_written: bool = False) -> str:
    """How many files have which ending, in lower case unless `as_written`: '.txt 300, .csv 12'."""
    endings = (os.path.splitext(path)[1] for path in files)
    kinds = Counter((e if as_written else e.lower()) or "no extension" for e in endings)
    listed = ", ".join(f"{kind} {number:,}" for kind, number in kinds.most_common(most))
    more = f" and {len(kinds) - most} more kinds" if len(kinds) > most else ""
    return f"{listed}{more}"


def walk_files(root: str | os.PathLike) -> Iterator[str]:
    """Yields the paths, below a folder, of everything visible in it that is no folder.

    Of any depth, folders by their names, files as they come. Hidden files and folders and those of
    systems (:func:`is_hidden`) are left out; links to folders are followed, and a folder that is
    reached twice through them is read once. What is neither file nor folder (pipes, devices, links
    that lead nowhere) is yielded too: :func:`open_regular` says what it is.

    Raises:
        FolderError: A folder, or one below it, that cannot be read.
    """
    for path, is_folder in _walk(os.fspath(root)):
        if not is_folder:
            yield path


def walk_images(
    root: str | os.PathLike, endings: Collection[str] | None = None
) -> tuple[list[str], list[str]]:
    """What lies below a folder: images, and what is none.

    An image is what has an image's name, whatever it holds, so that reading it names what is wrong;
    and what holds an image, whatever its name. A folder whose name ends as an image's does is taken
    for an image that cannot be read, unless there are images in it.

    Args:
        root: The folder.
        endings: Such as '.jpg', in lower case: then they alone decide. Defaults to those of all
            formats that are read, and contents.

    Returns:
        Sorted paths below the folder: of images, and of what else is no folder.

    Raises:
        FolderError: As :func:`walk_files`.
    """
    images: list[str] = []
    others: list[str] = []
    odd = []
    suffixes = tuple(ENDINGS if endings is None else endings)
    for path, is_folder in _walk(os.fspath(root)):
        named = path.lower().endswith(suffixes)
        if is_folder:
            odd += [path] if named else []
        else:
            (images if named else others).append(path)
    if odd:
        holding = {folder for path in images for folder in _above(path)}
        images += [folder for folder in odd if folder not in holding]
    others.sort()
    if endings is None:
        held = set(_images_by_content(os.fspath(root), others))
        images += held
        others = [path for path in others if path not in held]
    return sorted(images), others


def _images_by_content(root: str, paths: Sequence[str]) -> Iterator[str]:
    """Those of sorted paths whose first bytes are an image's."""
    looked: Counter[str] = Counter()
    found: set[str] = set()
    for path in paths:
        ending = os.path.splitext(path)[1].lower()
        if looked[ending] >= LOOKED_AT and ending not in found:
            continue
        looked[ending] += 1
        if holds_image(os.path.join(root, path)):
            found.add(ending)
            yield path


def holds_image(path: str | os.PathLike) -> bool:
    """Whether a file's first bytes are those of an image that is read."""
    try:
        with open_regular(os.fspath(path)) as file:
            return is_image(file.read(HEAD))
    except (FileRefusedError, OSError):
        return False


def _above(path: str) -> Iterator[str]:
    while path := os.path.dirname(path):
        yield path


def _walk(root: str) -> Iterator[tuple[str, bool]]:
    """Paths below a folder, and whether each is a folder."""
    seen: set[tuple[int, int]] = set()
    waiting = [""]  # a list and no recursion: folders may be nested deeper than Python calls
    while waiting:
        below = waiting.pop()
        folder = os.path.join(root, below) if below else root
        listed = _listed(folder, seen)
        for name, is_folder in listed:
            yield os.path.join(below, name), is_folder
        folders = sorted(name for name, is_folder in listed if is_folder)
        waiting += [os.path.join(below, name) for name in reversed(folders)]


def _listed(folder: str, seen: set[tuple[int, int]] | None = None) -> list[tuple[str, bool]]:
    """Visible names in a folder, and whether each is a folder; none of one that was `seen`."""
    try:
        if seen is not None:
            found = os.stat(folder)
            if (found.st_dev, found.st_ino) in seen:
                return []
            seen.add((found.st_dev, found.st_ino))
        with os.scandir(folder) as entries:
            return [(e.name, _is_folder(e)) for e in entries if not is_hidden(e.name)]
    except PermissionError:
        raise FolderError(f"no permission to read {folder}") from None
    except OSError as error:
        raise FolderError(f"the folder {folder} cannot be read: {error.strerror}") from None


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
