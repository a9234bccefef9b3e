# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One part of gpu_run.sh in a process of its own: writes each result as a line of JSON at once.

The parts are those of PARTS in gpu_run.py. A part looks at the clock between two results, leaves
out what there is no time for, and names it.
"""

import argparse
import importlib
import json
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

# What is measured, and what a rehearsal on a CPU takes in its place. Steps from JPEGs: so many that
# the batches which the workers make ahead are used up before the clock runs, and that each worker
# makes some while it does.
REAL = argparse.Namespace(
    batch=256, size=224, depth=50, queue=65536, workers=16, warm_up=24, steps=48, repeats=10
)
REHEARSAL = argparse.Namespace(
    batch=4, size=32, depth=18, queue=64, workers=1, warm_up=1, steps=1, repeats=1
)
# The file and the function of each.
FUNCTIONS = {
    "machine": ("gpu_machine", "machine"),
    "tests": ("gpu_machine", "tests"),
    "step": ("gpu_step", "step"),
    "jpegs": ("gpu_step", "jpegs"),
    "views": ("gpu_views", "views"),
    "loss": ("gpu_views", "loss"),
    "teacher": ("gpu_teacher", "teacher"),
    "cifar": ("gpu_cifar", "cifar"),
}


class Part:
    """Where the results of a part go, and what it may take.

    Args:
        file: for lines of JSON: results, and notes on what was left out.
        seconds: from now until the part should be over.
        rehearsal: on a CPU, with tiny sizes.
        data: folder of train.npz and test.npz, or None.
        images: folder of JPEGs.
        peer: Python, or folder of packages, that has lightly-train; or None.
    """

    def __init__(
        self,
        file: Path,
        seconds: float,
        rehearsal: bool,
        data: Path | None,
        images: Path | None,
        peer: Path | None = None,
    ) -> None:
        self.file, self.rehearsal, self.data, self.images = file, rehearsal, data, images
        self.peer = peer
        self.device = "cpu" if rehearsal else "cuda"
        self.sizes = argparse.Namespace(**vars(REHEARSAL if rehearsal else REAL), images=images)
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that remain."""
        return self._end - time.monotonic()

    def row(self, **row) -> None:
        """A result; on disk when this returns."""
        self._write(dict(row=row))

    def note(self, text: str) -> None:
        """What the reader has to know beside the results."""
        self._write(dict(note=text))

    def within(self, needs: float, names: list[str]) -> Iterator[str]:
        """The names, one after the other, while so many seconds are left; notes the others.

        A rehearsal tries all: it is there to try them.
        """
        for i, name in enumerate(names):
            if self.left() < needs and not self.rehearsal:
                self.note("no time for: " + ", ".join(names[i:]))
                return
            yield name

    @contextmanager
    def attempt(self, **row) -> Iterator[dict]:
        """Writes the row, filled in within; where that fails, the row says why, and all goes on."""
        import torch

        try:
            yield row
        except torch.cuda.OutOfMemoryError:
            total = torch.cuda.get_device_properties(0).total_memory
            row["skipped"] = f"does not fit into the {total / 1e9:.0f} GB of the device"
        except Exception as error:  # the next result need not fail too
            traceback.print_exc()
            row["failed"] = f"{type(error).__name__}: {(str(error).splitlines() or [''])[0]}"[:300]
        self.row(**row)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _write(self, record: dict) -> None:
        print(json.dumps(record), flush=True)
        with self.file.open("a") as file:
            file.write(json.dumps(record) + "\n")


def main() -> None:
    """Runs one part."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("part", choices=FUNCTIONS)
    parser.add_argument("--rows", type=Path, required=True, help="file for the lines of JSON")
    parser.add_argument("--seconds", type=float, required=True)
    parser.add_argument("--rehearse", action="store_true")
    parser.add_argument("--data", type=Path)
    parser.add_argument("--images", type=Path)
    parser.add_argument("--peer", type=Path)
    args = parser.parse_args()
    module, name = FUNCTIONS[args.part]
    part = Part(args.rows, args.seconds, args.rehearse, args.data, args.images, args.peer)
    function: Callable[[Part], None] = getattr(importlib.import_module(module), name)
    function(part)


if __name__ == "__main__":
    main()
