# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The time at the end of each step of a training, ours or another's; needs torch alone."""

import json
import time
from pathlib import Path
from typing import Any

import torch


class Stamps:
    """Writes a file when a training has made its steps.

    Args:
        file: for JSON: ``wall`` and ``cpu``, seconds of the clock and of the process at the end of
            the last step that warms up and of the last one; and what :meth:`add` was given.
        steps: of the training.
        warm_up: of them that are not timed, at least 1.
    """

    def __init__(self, file: str | Path, steps: int, warm_up: int) -> None:
        self.file, self.steps, self.warm_up = Path(file), steps, warm_up
        self.seen = 0
        self.found: dict[str, Any] = dict(wall=[], cpu=[])

    def add(self, **facts: Any) -> None:
        """Further entries of the file."""
        self.found |= facts

    def note(self) -> None:
        """A step has ended; a GPU is waited for where the clock is read, and not else."""
        self.seen += 1
        if self.seen not in (self.warm_up, self.steps):
            return
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.found["wall"].append(time.perf_counter())
        self.found["cpu"].append(time.process_time())
        if self.seen == self.steps:
            self.file.write_text(json.dumps(self.found))
