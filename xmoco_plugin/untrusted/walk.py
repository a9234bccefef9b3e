# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The one walk through a folder on this machine: what is hidden, what links do, what is odd."""

import os
from collections.abc import Collection, Iterator


class FolderError(OSError):
    """A folder that cannot be read through; the message names it."""


def walk_files(root: str | os.PathLike) -> Iterator[str]:
    """Yields the paths, below a folder, of everything visible in it that is no folder.

    Of any depth, folders by their names, files as they come. Hidden files and folders, whose name
    starts with a dot, are left out; links to folders are followed, and a folder that is reached
    twice through them is read once. What is neither file nor folder (pipes, devices, links that
    lead nowhere) is yielded too: :func:`open_regular` says what it is.

    Raises:
        FolderError: A folder, or one below it, that cannot be read.
    """
    for path, is_folder in _walk(os.fspath(root)):
        if not is_folder:
            yield path


def walk_images(root: str | os.PathLike, endings: Collection[str]) -> tuple[list[str], list[str]]:
    """What lies below a folder, by its name an image or not.

    A folder whose name ends as an image's does is taken for an image that cannot be read, unless
    there are images in it.

    Args:
        root: The folder.
        endings: Such as '.jpg', in lower case.

    Returns:
        Sorted paths below the folder: of images, and of what else is no folder.

    Raises:
        FolderError: As :func:`walk_files`.
    """
    images: list[str] = []
    others: list[str] = []
    odd = []
    suffixes = tuple(endings)
    for path, is_folder in _walk(os.fspath(root)):
        named = path.lower().endswith(suffixes)
        if is_folder:
            odd += [path] if named else []
        else:
            (images if named else others).append(path)
    if odd:
        holding = {folder for path in images for folder in _above(path)}
        images += [folder for folder in odd if folder not in holding]
    return sorted(images), sorted(others)


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
        try:
            found = os.stat(folder)
            if (found.st_dev, found.st_ino) in seen:
                continue
            seen.add((found.st_dev, found.st_ino))
            with os.scandir(folder) as entries:
                listed = [(e.name, _is_folder(e)) for e in entries if not e.name.startswith(".")]
        except PermissionError:
            raise FolderError(f"no permission to read {folder}") from None
        except OSError as error:
            raise FolderError(f"the folder {folder} cannot be read: {error.strerror}") from None
        for name, is_folder in listed:
            yield os.path.join(below, name), is_folder
        folders = sorted(name for name, is_folder in listed if is_folder)
        waiting += [os.path.join(below, name) for name in reversed(folders)]


def _is_folder(entry: os.DirEntry) -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link to itself
        return False
