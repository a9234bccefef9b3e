# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import json
import os
from pathlib import Path
from typing import Any

from ..checkpoint import write_atomic
from ..json_lines import parse_json_lines


class HealthRecord:
    """``health.jsonl``: one JSON object a line, one line a pass over the data.

    Args:
        path: of the file; its folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def forget_after(self, iteration: int) -> None:
        """Drop the lines of iterations that are done once more, and one torn by a crash."""
        if self.path.exists():
            kept = [line for line in read_health(self.path) if line["iter"] <= iteration]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_atomic(text.encode(), self.path, save=lambda data, file: file.write(data))

    def append(self, line: dict[str, Any]) -> None:
        """Add a line, on the disk when this returns."""
        data = (json.dumps(line, allow_nan=False) + "\n").encode()
        descriptor = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
        try:
            os.write(descriptor, data)  # one call: another reader sees all of it or nothing
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def read_health(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``health.jsonl`` that are whole; docs/health.md says what is in them."""
    lines, _ = parse_json_lines(path.read_text(encoding="utf-8", errors="replace"))
    return [line for line in lines if isinstance(line.get("iter"), int)]
