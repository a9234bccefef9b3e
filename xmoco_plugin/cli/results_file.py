# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Figures that a command writes, in the format that the file's ending names."""

from pathlib import Path
from typing import Any

import mmengine

from xmoco_plugin.checkpoint import write_atomic


def dump(figures: dict[str, Any], path: str | Path, **options: Any) -> None:
    """Writes figures as mmengine would (.json, .yaml, .pkl), whole or not at all."""
    content = mmengine.dump(figures, file_format=Path(path).suffix[1:], **options)
    if isinstance(content, str):
        content = content.encode()
    Path(path).parent.mkdir(parents=True, exist_ok=True)
    write_atomic(content, path, save=lambda data, file: file.write(data))
