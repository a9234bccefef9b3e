# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of study.py: the files of its runs, which several processes may make."""

import json
import os
from collections.abc import Callable
from pathlib import Path

from xmoco_plugin.checkpoint import write_text


def keep_options(out: Path, now: dict) -> None:
    """Writes what all runs of a study share.

    Raises:
        SystemExit: the folder holds runs that were made with other options, which are named, or
            runs and no word of how they were made.
    """
    kept = out / "options.json"
    if not kept.is_file():
        if any(out.glob("*/*.json")):
            raise SystemExit(f"{out} holds runs, but {kept} is gone: name another --out.")
        out.mkdir(parents=True, exist_ok=True)
        write_text(kept, json.dumps(now, indent=1))
        return
    old = json.loads(kept.read_text())
    unlike = [f"{k} was {old.get(k)}, now {now[k]}" for k in now if old.get(k) != now[k]]
    if unlike:
        raise SystemExit(
            f"{out} holds runs with other options: {'; '.join(unlike)}. Name another --out."
        )


def claim(file: Path) -> bool:
    """Whether this run is ours: it has no result, and no living process works at it."""
    if file.exists():
        return False
    mark = file.with_suffix(".claim")
    for _ in range(2):
        try:
            with open(mark, "x") as text:
                text.write(str(os.getpid()))
            return True
        except FileExistsError:
            if _alive(mark):
                return False
            mark.unlink(missing_ok=True)  # of a process that was ended
    return False


def _alive(mark: Path) -> bool:
    try:
        os.kill(int(mark.read_text()), 0)
    except (ValueError, ProcessLookupError, FileNotFoundError):
        return False
    except PermissionError:  # it lives, and is somebody else's
        return True
    return True


def make_missing(file: Path, make: Callable[[], dict], facts: dict) -> None:
    """Makes a run that is not there and that nobody works at; writes and prints it.

    Args:
        file: Of the run.
        make: Makes it.
        facts: Of the machine, written beside it.
    """
    if not claim(file):
        return
    try:
        found = make()
        write_text(file, json.dumps(found | dict(environment=facts), indent=1))
        print(json.dumps(found), flush=True)
    finally:
        file.with_suffix(".claim").unlink()


def runs_of(folder: Path) -> list[dict]:
    """Results that are there."""
    return [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
