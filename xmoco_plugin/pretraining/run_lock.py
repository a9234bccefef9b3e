# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One process at a time works on a run's folder."""

import contextlib
import errno
import os
import re
import shlex
import socket
import stat
import sys
import time
from pathlib import Path

from .errors import PretrainError

if sys.platform != "win32":
    import fcntl

LOCK = ".pretrain.lock"
PATIENCE = 10.0  # seconds; a training that was just killed takes a moment to be gone
HELD = (errno.EWOULDBLOCK, errno.EAGAIN, errno.EACCES)  # EACCES where it is made of fcntl's locks
REMOVE = "Remove it, or name another --out."
NOTE = re.compile(r"^process (\d{1,9}) on (.+)$", re.M)


class RunLock:
    """Holds a folder for this process and those that it starts with ``pass_fds=lock.handles``.

    The system lets go of it when the last of them ends, however it ends: nothing is left to clear
    away, and a training whose ``pretrain.py`` was killed still holds its folder. On Windows
    nothing is held, nor on a file system that has no locks, which is said on stderr.

    Args:
        folder: Of the run; made if it is not there.

    Raises:
        PretrainError: Another process works on it; names those that live and the way out.
    """

    def __init__(self, folder: Path) -> None:
        self.handles: tuple[int, ...] = ()
        folder.mkdir(parents=True, exist_ok=True)
        if sys.platform == "win32":
            return
        # Not through a link: the file is emptied.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            handle = os.open(folder / LOCK, flags, 0o644)
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                os.close(handle)
                raise PretrainError(f"{folder / LOCK}: not a regular file. {REMOVE}")
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EPERM, errno.EROFS):
                why = f"{folder}: {error.strerror}: it is another user's, or read-only"
                raise PretrainError(f"{why}. Name another --out.") from None
            raise PretrainError(f"{folder / LOCK}: {error.strerror}. {REMOVE}") from None
        end = time.monotonic() + PATIENCE
        try:
            while not (ours := _take(handle)) and time.monotonic() < end:
                time.sleep(0.1)
        except OSError as error:
            os.close(handle)
            print(
                f"warning: {folder} cannot be locked here ({error.strerror}): start one run at a "
                "time in it.",
                file=sys.stderr,
            )
            return
        if not ours:
            notes, lock = os.read(handle, 1000).decode(errors="replace"), os.fstat(handle)
            os.close(handle)  # or this process would count among those that have it open
            raise PretrainError(
                f"{folder} is being worked on by {_holders(notes, lock, folder / LOCK)}, or name "
                "another --out."
            )
        os.ftruncate(handle, 0)
        self.handles = (handle,)
        self.note(os.getpid())

    def note(self, pid: int) -> None:
        """Writes down a process that holds the folder too, for the refusal of a second start."""
        for handle in self.handles:
            with contextlib.suppress(OSError):  # on a full disk the refusal lacks a name, no more
                os.write(handle, f"process {pid} on {socket.gethostname()}\n".encode())

    def __enter__(self) -> "RunLock":
        return self

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            os.close(handle)


def _take(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno not in HELD:
            raise
        return False
    return True


def _holders(notes: str, lock: os.stat_result, path: Path) -> str:
    """Who holds the lock, as far as can be seen, and what to do about it."""
    noted = NOTE.findall(notes)
    here = socket.gethostname()
    if noted and noted[-1][1] != here:
        pids = ", ".join(pid for pid, _ in noted)
        return (
            f"a process on {noted[-1][1]} ({pids}, or one that they started): wait for its end, "
            "or stop it there"
        )
    living = [f"process {pid}" for pid, _ in noted if _has_open(int(pid), lock)]
    if not living:
        return (
            f"some process that still holds it (`fuser {shlex.quote(str(path))}` names it): wait "
            "for its end, or stop it"
        )
    its, it = ("its", "it") if len(living) == 1 else ("their", "them")
    return f"{' and '.join(living)} on {here}: wait for {its} end, or stop {it}"


def _has_open(pid: int, lock: os.stat_result) -> bool:
    """Whether a process lives and, where that can be seen, has the file open.

    The number of one that ended may be another's by now, and a dead one that nobody has asked
    after keeps its number.
    """
    try:
        os.kill(pid, 0)
        files = os.listdir(f"/proc/{pid}/fd")
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # another user's
    except FileNotFoundError:
        return not os.path.isdir("/proc/self/fd")
    for name in files:
        with contextlib.suppress(OSError):  # closed meanwhile
            if os.path.samestat(os.stat(f"/proc/{pid}/fd/{name}"), lock):
                return True
    return False
