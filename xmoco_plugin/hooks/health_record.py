# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import json
from pathlib import Path
from typing import Any

from ..checkpoint import write_text
from ..json_lines import append_json_line, read_json_lines
from ..untrusted import FileRefusedError


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
            kept = [line for line in self.lines() if line["iter"] <= iteration]
            text = "".join(json.dumps(line) + "\n" for line in kept)
            write_text(self.path, text)

    def append(self, line: dict[str, Any]) -> None:
        """Add a line, on the disk when this returns."""
        append_json_line(line, self.path)

    def lines(self) -> list[dict[str, Any]]:
        """The lines that are whole; none where there is no file."""
        return read_health(self.path) if self.path.exists() else []


def read_health(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``health.jsonl`` that are whole; docs/judge_a_run.md says what is in them.

    Raises:
        FileRefusedError: It is no regular file, or too large.
    """
    try:
        lines, _ = read_json_lines(path)
    except FileRefusedError as error:
        raise FileRefusedError(
            f"{path}: {error}. Remove it to go on without its verdicts."
        ) from None
    return [line for line in lines if isinstance(line.get("iter"), int)]
