# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The config of a run, read from the files in its folder, none of which is run."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from ...untrusted import FileRefusedError, printable, read_config_file, read_regular
from ...untrusted.config_file import LIMIT

# What tells a config with some code in it from any other program.
SETTINGS = {"model", "train_cfg", "train_dataloader", "optim_wrapper", "default_scope"}


class FoundConfig(NamedTuple):
    """A run's config, or None, its file's name, and what cannot be shown for lack of it."""

    config: Config | None
    name: str
    missing: list[str]


def find_config(folder: Path, logs: Sequence[Path]) -> FoundConfig:
    """The config that a run used last.

    Args:
        folder: of the run.
        logs: folders of its starts, oldest first.
    """
    # Both are the resolved config; only the first has kept its name. Another *.py may lie
    # beside it, as the fine-tuning configs of pretrain.py do, and be newer.
    copies = [log / "vis_data" / "config.py" for log in reversed(logs)]
    texts = {_content(copy) for copy in copies} - {None}
    files = sorted(
        folder.glob("*.py"),
        key=lambda file: (_content(file) in texts, _changed(file)),
        reverse=True,
    )
    problems: list[str] = []
    for file in [*files, *filter(os.path.lexists, copies)]:
        name = printable(file.name)
        try:
            config, code = read_config_file(file)
        except FileRefusedError as error:
            problems.append(f"{name} cannot be read ({error})")
            continue
        if any("_base_" in line for line in code):
            problems.append(f"{name} cannot be read alone ({code[0]}: bases are not looked up)")
            continue
        if code and not SETTINGS & config.keys():
            problems.append(f"{name} cannot be read ({code[0]}: code, and no settings of a run)")
            continue
        missing = [f"The config {p}; {printable(file)} is used instead." for p in problems]
        if code:
            more = f" and {len(code) - 1} more" if len(code) > 1 else ""
            missing.append(
                f"Settings of {name}: {code[0]}{more}: a run's config is read as data, and this "
                "is code, so what it sets is left out."
            )
        return FoundConfig(config, file.name, missing)
    text = "; ".join(problems) or "there is no *.py in the work dir"
    lack = f"The config: {text}. Without it nothing is computed from checkpoints."
    return FoundConfig(None, "", [lack])


def _content(file: Path) -> bytes | None:
    """None where there is no file, or none that may be read."""
    try:
        return read_regular(file, LIMIT)
    except FileRefusedError:
        return None


def _changed(file: Path) -> float:
    try:
        return file.lstat().st_mtime
    except OSError:  # removed meanwhile
        return 0.0
