# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The images of an archive that anybody may have made -> a folder of files, within limits."""

import hashlib
import json
import lzma
import os
import shutil
import struct
import tarfile
import zipfile
import zlib
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from ..checkpoint import write_text
from ..untrusted import FileRefusedError, open_regular, printable, read_json_object
from ..untrusted.files import size_text
from ..untrusted.image_formats import ENDINGS
from .archive_folder import ArchiveFolder, ArchiveLimitError
from .archive_members import untar, unzip
from .errors import PretrainError

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz", ".zip")
DAMAGES = (
    *(tarfile.TarError, zipfile.BadZipFile, zlib.error, lzma.LZMAError, ArithmeticError),
    *(EOFError, OSError, RuntimeError, ValueError, LookupError, struct.error),
)
# Ours: photographs hardly shrink, BMP and TIFF of a microscope to a tenth; what grows more is
# rather made to fill a disk.
LEAST_LIMIT, GROWTH = 10_000_000_000, 20
MAX_MEMBERS = 5_000_000


class Unpacked(NamedTuple):
    """An archive's images.

    Attributes:
        folder: That holds them.
        note: What was left out, in a sentence; empty for nothing.
    """

    folder: Path
    note: str


def unpack(
    archive: Path,
    folder: Path,
    max_bytes: int | None = None,
    max_members: int | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> Unpacked:
    """Unpacks the images of an archive into a folder of their own, which is whole or not there.

    What lies there whole, of the archive as it is now, is kept.

    Args:
        archive: Of one of the ``ARCHIVES``; what it is, its first bytes say.
        folder: That holds the folders of all archives.
        max_bytes: That may come out of it, with what is left out on the way. Defaults to 10 GB, or
            20 times the archive's size.
        max_members: That it may list. Defaults to 5 million.
        say: Told the limits before anything is unpacked.

    Raises:
        PretrainError: It is damaged, above a limit, larger than the disk, or holds no image.
    """
    shown = printable(archive)
    try:
        with open_regular(archive) as file:
            stat = os.fstat(file.fileno())
    except FileRefusedError as error:
        raise PretrainError(f"{shown} cannot be unpacked: {error}") from error
    facts = dict(source=str(archive), size=stat.st_size, changed=stat.st_mtime_ns)
    # Archives of one name from several folders must not meet.
    place = hashlib.blake2b(os.fsencode(archive), digest_size=4).hexdigest()
    name = f"{archive.name}-{place}"
    target, note = folder / name, folder / f"{name}.json"
    kept = _read_note(note)
    if target.is_dir() and {key: kept.get(key) for key in facts} == facts:
        return Unpacked(target, _left_out(shown, kept.get("left_out")))
    partial = folder / f"{name}.partial"
    for old in (target, partial):
        shutil.rmtree(old, ignore_errors=True)
    limit = max_bytes or max(LEAST_LIMIT, GROWTH * stat.st_size)
    members = max_members or MAX_MEMBERS
    say(
        f"unpacking {shown}: at most {size_text(limit)} (--max-unpacked) and {members:,} members "
        "(--max-members)"
    )
    try:
        partial.mkdir(parents=True)
        written = ArchiveFolder(partial, limit, members)
        with open_regular(archive) as file:
            zipped = archive.suffix.lower() == ".zip" or file.read(2) == b"PK"
            file.seek(0)
            (unzip if zipped else untar)(file, written)
    except ArchiveLimitError as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise PretrainError(f"{shown} {error}") from error
    except DAMAGES as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise PretrainError(
            f"{shown} cannot be unpacked: {printable(_reason(error))}. Copy it again, or unpack it "
            "and name the folder."
        ) from error
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    left_out = _left_out(shown, written.left_out)
    if not written.images:
        shutil.rmtree(partial)
        raise PretrainError(
            f"{shown} holds no image ({' '.join(ENDINGS)})" + (f"; {left_out}" if left_out else "")
        )
    os.replace(partial, target)
    write_text(note, json.dumps({**facts, "left_out": written.left_out}))
    return Unpacked(target, left_out)


def _read_note(note: Path) -> dict:
    try:
        return read_json_object(note, limit=1 << 20)
    except FileRefusedError:  # none, or not ours: it is unpacked again
        return {}


def _left_out(shown: str, counts: object) -> str:
    """What was left out of an archive, by kind: 'left out of a.tar: links 3, hidden files 2'."""
    if not isinstance(counts, dict) or not counts:
        return ""
    kinds = Counter({str(kind): n for kind, n in counts.items() if isinstance(n, int)})
    listed = ", ".join(f"{kind} {count:,}" for kind, count in kinds.most_common())
    return f"left out of {shown}: {listed}"


def _reason(error: BaseException) -> str:
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
