# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Feeds a target: what it may raise counts as read or refused, everything else is a finding."""

import random
import resource
import shutil
import signal
import tempfile
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from .mutate import mutate
from .targets import TARGETS

SECONDS = 5  # that one file may take


class TookTooLongError(BaseException):
    """Not an Exception: nothing may take it for a damaged file."""


class Fed(NamedTuple):
    """What became of the files.

    Attributes:
        counts: Files 'read' and 'refused'.
        findings: Number of the file, what happened; with its bytes.
        slowest: Seconds that the slowest file took.
        grown: MB by which the memory's peak has grown.
    """

    counts: Counter[str]
    findings: list[tuple[int, str, bytes]]
    slowest: float
    grown: float


def feed(name: str, count: int, seed: int = 0, first: int = 0) -> Fed:
    """Lets a target read so many changed files; file i is the same in each run of a seed."""
    target, counts, findings, slowest = TARGETS[name], Counter[str](), [], 0.0
    root = Path(tempfile.mkdtemp(prefix="fuzz-"))
    try:
        (root / "whole").mkdir()
        whole = target.files(root / "whole")
        before = _peak()
        for number in range(first, first + count):
            draw = random.Random(f"{seed} {number}")
            content = mutate(draw.choice(whole), draw, whole)
            place = root / "one"
            place.mkdir()
            file = place / target.name
            file.write_bytes(content)
            began = time.monotonic()
            try:
                with _within(SECONDS), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    target.read(file)
                counts["read"] += 1
            except target.says as error:
                counts["refused"] += 1
                if not str(error).strip() and not isinstance(error, SystemExit):
                    findings.append((number, f"an empty message: {error!r}", content))
            except KeyboardInterrupt:
                raise
            except BaseException as error:
                where = traceback.extract_tb(error.__traceback__)[-1]
                place_in = f"({where.filename}:{where.lineno})"
                said = f"{type(error).__name__}: {str(error)[:200]} {place_in}"
                findings.append((number, said, content))
            slowest = max(slowest, time.monotonic() - began)
            shutil.rmtree(place)
        return Fed(counts, findings, slowest, _peak() - before)
    finally:
        shutil.rmtree(root)


@contextmanager
def _within(seconds: int) -> Iterator[None]:
    def end(*_: object) -> None:
        raise TookTooLongError(f"more than {seconds} s")

    before = signal.signal(signal.SIGALRM, end)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
