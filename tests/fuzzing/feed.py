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

SECONDS = 5  # of the processor, which one file may take: others may hold it meanwhile
HANGS = 60  # seconds of a clock, after which a reader waits for what never comes


class TookTooLongError(BaseException):
    """Not an Exception: nothing may take it for a damaged file."""


class Fed(NamedTuple):
    """What became of the files.

    Attributes:
        counts: Files 'read' and 'refused'; and what a target's reading returned as a text.
        findings: Number of the file, what happened; with its bytes.
        slowest: Seconds of the processor that the slowest file took.
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
            began = time.process_time()
            try:
                with _within(SECONDS, HANGS), warnings.catch_warnings():
                    warnings.simplefilter("ignore")
                    said = target.read(file)
                counts["read"] += 1
                if isinstance(said, str):
                    counts[said] += 1
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
            slowest = max(slowest, time.process_time() - began)
            shutil.rmtree(place)
        return Fed(counts, findings, slowest, _peak() - before)
    finally:
        shutil.rmtree(root)


@contextmanager
def _within(seconds: float, wall: float) -> Iterator[None]:
    """Ends what takes more of the processor's seconds, or of a clock's."""

    def end(number: int, frame: object) -> None:
        limit = f"{seconds:g} s of the processor" if number == signal.SIGPROF else f"{wall:g} s"
        raise TookTooLongError(f"more than {limit}")

    timers = (
        (signal.ITIMER_PROF, signal.SIGPROF, seconds),
        (signal.ITIMER_REAL, signal.SIGALRM, wall),
    )
    before = [signal.signal(number, end) for _, number, _ in timers]
    for timer, _, limit in timers:
        signal.setitimer(timer, limit)
    try:
        yield
    finally:
        for timer, _, _ in timers:
            signal.setitimer(timer, 0)
        for (_, number, _), handler in zip(timers, before, strict=True):
            signal.signal(number, handler)


def _peak() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3
