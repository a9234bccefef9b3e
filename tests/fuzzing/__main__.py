# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The long run: python -m tests.fuzzing [--count N] [--seed N] [--keep FOLDER] [TARGET ...]."""

import argparse
import contextlib
import io
import multiprocessing
import resource
import sys
from collections import Counter
from pathlib import Path

from .feed import feed
from .targets import TARGETS

PART = 500  # files a process reads: one that crashes costs no more
MEMORY = 6 << 30  # bytes of addresses a process may have


def part(name: str, count: int, seed: int, first: int, pipe) -> None:
    """One process's files."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        pipe.send(feed(name, count, seed, first))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    parser.add_argument("--count", type=int, default=10_000, help="files a target")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files of findings")
    args = parser.parse_args()
    bad = 0
    for name in args.targets or TARGETS:
        counts, found, slowest, grown = Counter[str](), [], 0.0, 0.0
        for first in range(0, args.count, PART):
            here, there = multiprocessing.Pipe()
            words = (name, min(PART, args.count - first), args.seed, first, there)
            process = multiprocessing.Process(target=part, args=words)
            process.start()
            there.close()
            try:
                fed = here.recv()
                counts += fed.counts
                found += fed.findings
                slowest, grown = max(slowest, fed.slowest), max(grown, fed.grown)
            except EOFError:
                process.join()
                found.append((first, f"the process ended with {process.exitcode}", b""))
            process.join()
        print(
            f"{name}: {counts['read'] + counts['refused']:,} files, {counts['read']:,} read, "
            f"{counts['refused']:,} refused, {len(found)} findings; the slowest {slowest:.2f} s, "
            f"memory + {grown:,.0f} MB",
            flush=True,
        )
        kinds = Counter(what for _, what, _ in found)
        for what, number in kinds.most_common(20):
            print(f"  {number} x {what}", flush=True)
        for number, _, content in found if args.keep else []:
            args.keep.mkdir(parents=True, exist_ok=True)
            (args.keep / f"{name}-{args.seed}-{number}").write_bytes(content)
        bad += len(found)
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
