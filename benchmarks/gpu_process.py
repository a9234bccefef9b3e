# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A process that is given so long and no longer, its children included."""

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
GRACE = 2.0  # seconds between asking to end and ending
LAST = 8  # lines of what it printed that tell why it failed
Seen = Callable[[list[dict]], None]


class Process:
    """Runs one command at a time.

    Args:
        log: for what all of them print.
    """

    def __init__(self, log: Path) -> None:
        self.log = log
        self._process: subprocess.Popen | None = None

    def run(
        self, command: list[str], rows: Path, limit: float, seen: Seen, env: dict[str, str]
    ) -> dict:
        """A command in a process group of its own; its lines of JSON are handed over meanwhile.

        Args:
            command: writes lines of JSON to a file.
            rows: the file.
            limit: seconds after which it is over, whatever happens.
            seen: gets new lines while they come.
            env: of the command.

        Returns:
            status ('done', 'failed', 'cut off'), seconds, limit, and, unless it was done, the last
            lines that it printed.
        """
        start, read = time.monotonic(), 0
        with self.log.open("ab") as file:
            file.write(f"\n=== {' '.join(command)}\n".encode())
            file.flush()
            begin = file.tell()
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=file,
                env=env,
                cwd=ROOT,
                start_new_session=True,
            )
            code: int | None = None
            while code is None and time.monotonic() - start < limit - GRACE:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    code = self._process.wait(0.2)
                read = hand_over(rows, read, seen)
            self.stop()
            hand_over(rows, read, seen)
        status = "cut off" if code is None else "done" if code == 0 else "failed"
        with self.log.open("rb") as file:
            file.seek(begin)
            lines = file.read().decode(errors="replace").splitlines()
        end = [line[:300] for line in lines if line.strip()][-LAST:] if status != "done" else []
        taken = time.monotonic() - start
        return dict(status=status, seconds=round(taken, 1), limit=round(limit, 1), end=end)

    def stop(self) -> None:
        """Ends what is left of the group; waits for nothing that will not end."""
        process, self._process = self._process, None
        if process is None:
            return
        for number, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 1.0)):
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, number)
                if process.poll() is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        process.wait(patience)


def hand_over(file: Path, read: int, seen: Seen) -> int:
    """Hands over the whole lines from a place of the file on; returns the place after them."""
    if not file.exists():
        return read
    with file.open("rb") as lines:
        lines.seek(read)
        new = lines.read()
    new = new[: new.rfind(b"\n") + 1]
    if new:
        seen([json.loads(line) for line in new.splitlines()])
    return read + len(new)
