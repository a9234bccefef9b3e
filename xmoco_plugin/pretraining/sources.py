# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a user names as data -> paths of image files: folders, lists, archives, single images."""

import hashlib
import json
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path

from ..checkpoint import write_text
from ..data import find_images
from ..data.unlabeled_folder import EXTENSIONS
from .errors import PretrainError

LISTS = (".txt", ".lst")
DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError),
    *(EOFError, OSError, RuntimeError),
)
ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")


def check_source(source: str) -> str | None:
    """Why something cannot be data, in a sentence; None where it can."""
    path = Path(source).expanduser()
    if not path.exists():
        return f"--data {source}: there is no such file or folder (looked from {Path.cwd()})."
    known = (*LISTS, *ARCHIVES, *EXTENSIONS)
    if not path.is_dir() and not path.name.lower().endswith(known):
        return (
            f"--data {source}: a file is taken as a list of images ({', '.join(LISTS)}), an "
            f"archive ({', '.join(ARCHIVES)}) or an image; this name ends in none of them."
        )
    if not os.access(path, os.R_OK):
        return f"--data {source}: no permission to read it."
    return None


def is_archive(source: str) -> bool:
    """Whether it has to be unpacked."""
    return source.lower().endswith(ARCHIVES) and not os.path.isdir(os.path.expanduser(source))


def list_images(sources: Sequence[str], unpacked: Path) -> list[str]:
    """Absolute paths of every image that the sources name, each once, in their order.

    Args:
        sources: Folders (searched to any depth, links followed), text files with one path a line
            (relative to the file), tar or zip archives, images.
        unpacked: Folder for what is in archives; what lies there whole and unchanged is kept.

    Raises:
        PretrainError: A list that names a missing file, an archive that is damaged or has no image.
        FileNotFoundError: A folder without images; the message counts what is there.
    """
    found: dict[str, None] = {}
    for source in sources:
        path = os.path.abspath(os.path.expanduser(source))
        if is_archive(path):
            path = str(_unpack(Path(path), unpacked))
        if os.path.isdir(path):
            try:
                names = find_images(path)
            except PermissionError as error:
                raise PretrainError(f"no permission to read {error.filename}") from error
            found |= dict.fromkeys(os.path.join(path, name) for name in names)
        elif path.lower().endswith(LISTS):
            found |= dict.fromkeys(_listed(path))
        else:
            found[path] = None
    return list(found)


def _listed(path: str) -> Iterator[str]:
    with open(path, "rb") as file:
        for number, line in enumerate(file, 1):
            if name := os.fsdecode(line.strip()):
                full = os.path.join(os.path.dirname(path), os.path.expanduser(name))
                if not os.path.isfile(full):
                    raise PretrainError(f"{path}, line {number}: there is no file {full}")
                yield full


def _unpack(archive: Path, folder: Path) -> Path:
    """The images of an archive, in a folder of their own that is whole or not there."""
    stat = archive.stat()
    facts = dict(source=str(archive), size=stat.st_size, changed=stat.st_mtime_ns)
    # Archives of one name from several folders must not meet.
    place = hashlib.blake2b(os.fsencode(archive), digest_size=4).hexdigest()
    name = f"{archive.name}-{place}"
    target, note = folder / name, folder / f"{name}.json"
    if target.is_dir() and note.is_file() and json.loads(note.read_text()) == facts:
        return target
    partial = folder / f"{name}.partial"
    for old in (target, partial):
        shutil.rmtree(old, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        count = (_unzip if archive.suffix.lower() == ".zip" else _untar)(archive, partial)
    except DAMAGES as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise PretrainError(
            f"{archive} cannot be unpacked: {error}. Copy it again, or unpack it and "
            "name the folder."
        ) from error
    if not count:
        shutil.rmtree(partial)
        raise PretrainError(f"{archive} holds no image ({' '.join(EXTENSIONS)})")
    os.replace(partial, target)
    write_text(note, json.dumps(facts))
    return target


def _is_image(name: str) -> bool:
    parts = Path(name).parts
    return name.lower().endswith(EXTENSIONS) and not any(p.startswith(".") for p in parts)


def _unzip(archive: Path, folder: Path) -> int:
    with zipfile.ZipFile(archive) as file:
        names = [name for name in file.namelist() if _is_image(name)]
        for name in names:
            file.extract(name, folder)  # which takes '..' and roots out of names
    return len(names)


def _untar(archive: Path, folder: Path) -> int:
    count = 0
    with tarfile.open(archive) as file:
        for member in file:
            if member.isfile() and _is_image(member.name):
                # The filter keeps members inside the folder.
                file.extract(member, folder, filter="data")
                count += 1
    return count
