# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Opens what a walk, a list or an archive has found: a regular file of a bearable size only."""

import os
import stat
from pathlib import Path
from typing import BinaryIO

KINDS = (
    (stat.S_ISDIR, "a folder"),
    (stat.S_ISFIFO, "a named pipe"),
    (stat.S_ISCHR, "a device"),
    (stat.S_ISBLK, "a device"),
    (stat.S_ISSOCK, "a socket"),
)
DANGLING = "a link to a file that does not exist"
# What a text that is read whole may have (ours): a log of a long run is a tenth of it.
TEXT_LIMIT = 256 << 20
# Of annotations and lists that a host reads whole (ours): COCO's have 0.5 GB, LVIS's 1.1.
ANNOTATION_LIMIT = 4 << 30


class FileRefusedError(ValueError):
    """A file that is not opened or not read; the message is the reason, without the path."""


def open_regular(path: str | Path, limit: int | None = None) -> BinaryIO:
    """Opens a regular file for reading; links are followed, nothing that is no file is waited for.

    Args:
        path: Of the file.
        limit: Bytes it may have; None for any number.

    Returns:
        An open binary file, to be closed by the caller.

    Raises:
        FileRefusedError: It is not there, may not be read, is no regular file, or is too large.
    """
    try:
        # Looked at before it is opened: opening alone does something to some devices.
        _check(os.stat(path), limit)
        # A pipe put there in between would be waited for without O_NONBLOCK.
        flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_NOCTTY", 0)
        descriptor = os.open(path, flags | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0))
    except FileRefusedError:  # a ValueError, and not one of a name
        raise
    except FileNotFoundError:
        raise FileRefusedError(DANGLING if os.path.islink(path) else "no such file") from None
    except PermissionError:
        raise FileRefusedError("no permission to read it") from None
    except OSError as error:
        raise FileRefusedError(f"reading failed: {error.strerror or error}") from None
    except ValueError as error:  # a NUL in its name
        raise FileRefusedError(f"no name of a file: {error}") from None
    try:
        _check(os.fstat(descriptor), limit)
        return os.fdopen(descriptor, "rb")
    except BaseException:
        os.close(descriptor)
        raise


def refusal(path: str | Path, limit: int | None = None) -> str | None:
    """Why a path names no regular file of at most `limit` bytes; None where it does.

    Nothing is opened: for lists of files that something else reads later.
    """
    try:
        _check(os.stat(path), limit)
    except FileRefusedError as error:
        return str(error)
    except FileNotFoundError:
        return DANGLING if os.path.islink(path) else "no such file"
    except OSError as error:
        return error.strerror or str(error)
    except ValueError as error:  # a NUL in its name
        return f"no name of a file: {error}"
    return None


def in_other_case(path: str | Path) -> Path | None:
    """A file's own name, where its ending is written in another case than asked for: a.JPG.

    Nothing is listed: only an ending in small letters, in capitals, or with one capital is found.

    Args:
        path: Of a file that is there, or is not.

    Returns:
        The path of what is there; None where nothing is.
    """
    path = Path(path)
    if os.path.lexists(path):
        return path
    endings = (path.suffix.lower(), path.suffix.upper(), f".{path.suffix[1:].capitalize()}")
    others = [path.parent / f"{path.stem}{ending}" for ending in endings]
    return next((file for file in others if os.path.lexists(file)), None)


def read_regular(path: str | Path, limit: int) -> bytes:
    """Reads a regular file whole.

    Args:
        path: Of the file.
        limit: Bytes it may have.

    Raises:
        FileRefusedError: As :func:`open_regular`; or reading fails, or the file grows meanwhile.
    """
    with open_regular(path, limit) as file:
        try:
            size = os.fstat(file.fileno()).st_size
            content = file.read(size + 1)  # asked for the limit, Python would allocate the limit
            if len(content) > size:  # it grows, or tells no size, as those in /proc
                content += file.read(max(limit - size, 0) + 1)
        except OSError as error:
            raise FileRefusedError(f"reading failed: {error.strerror or error}") from None
    if len(content) > limit:
        raise FileRefusedError(f"more than {size_text(limit)}, the limit")
    return content


def read_text(path: str | Path, limit: int = TEXT_LIMIT) -> str:
    """Reads a text, UTF-8; what is not becomes U+FFFD.

    Raises:
        FileRefusedError: As :func:`read_regular`.
    """
    return read_regular(path, limit).decode("utf-8", "replace")


def size_text(size: float) -> str:
    """Bytes in words: '60.0 GB'."""
    for unit in ("bytes", "kB", "MB"):
        if size < 1000:
            return f"{size:,.0f} bytes" if unit == "bytes" else f"{size:.1f} {unit}"
        size /= 1000
    return f"{size:,.1f} GB"


def _check(found: os.stat_result, limit: int | None) -> None:
    if not stat.S_ISREG(found.st_mode):
        kind = next((name for test, name in KINDS if test(found.st_mode)), "no file")
        raise FileRefusedError(f"not a regular file: {kind}")
    if limit is not None and found.st_size > limit:
        raise FileRefusedError(f"{size_text(found.st_size)}, the limit is {size_text(limit)}")
