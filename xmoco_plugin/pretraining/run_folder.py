# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The folder of a run that goes on: read as data, wherever it lies now."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..checkpoint import CheckpointError, read_checkpoint, write_text
from ..json_lines import read_json_lines
from ..untrusted import (
    FileRefusedError,
    SettingsRefusedError,
    check_run_paths,
    check_run_settings,
    printable,
    read_text,
    read_whole_config,
)
from ..untrusted.run_settings import reason
from .errors import PretrainError
from .image_list import DIGESTS, FILES, TILES
from .start import STOPPED

CONFIG, OPENING, FIRST = "config.py", "opening.txt", "init.pth"
FINE_TUNING = ("finetune_mmdet.py", "finetune_mmseg.py")
APPENDED = (
    "scan.jsonl",
    "scan_tiles.jsonl",
    "scan_channels.jsonl",
    "health.jsonl",
    "metrics.jsonl",
    "weights.jsonl",
)
# What is read from the folder, or written over, when a run goes on.
READ = (
    *(CONFIG, OPENING, FIRST, FILES, TILES, DIGESTS, "options.json", "scan.txt", "last_checkpoint"),
    "shards.txt",
    *("summary.json", "summary_maps.npz", "summary.png", "first_batch.png", "report.html"),
    *("next_steps.md", STOPPED, "backbone.pth", "backbone.safetensors", *FINE_TUNING, *APPENDED),
    *("teacher.pth", "teacher_features.bin"),
)
ANOTHER = (
    "Put it back as it was, or start a run of its own: another --out, with --init and the "
    "backbone.pth of this one to go on from its weights."
)


class RunSettings(NamedTuple):
    """What a run goes on with.

    Attributes:
        config: Complete; every path of the run's own is in the folder it lies in now.
        moved_from: The folder that it lay in when it was last written, where that is another.
    """

    config: Config
    moved_from: str | None

    @property
    def epochs(self) -> int:
        """That it trains for."""
        return self.config.train_cfg.max_epochs


def run_settings(folder: Path) -> RunSettings:
    """The settings in a run's ``config.py``, which is parsed and never run.

    Raises:
        PretrainError: It cannot be read, is code, builds what is no registered class, or would
            write outside of the folder.
    """
    file = folder / CONFIG
    try:
        config = read_whole_config(file)
    except FileRefusedError as error:
        raise PretrainError(f"{file}: {error}. {ANOTHER}") from None
    except SettingsRefusedError as error:
        raise PretrainError(str(error)) from None
    loop = config.get("train_cfg")
    epochs = loop.get("max_epochs") if isinstance(loop, dict) else None
    if not isinstance(epochs, int) or isinstance(epochs, bool) or epochs < 1:
        raise PretrainError(
            f"{file}: train_cfg.max_epochs is {printable(repr(epochs))[:60]}, and must be a whole "
            f"number of at least 1. {ANOTHER}"
        )
    old = config.get("work_dir")
    moved = isinstance(old, str) and os.path.isabs(old) and Path(old) not in (folder, Path("/"))
    if moved:
        config = Config(
            moved_paths(config.to_dict(), [(old.rstrip("/"), str(folder))]),
            cfg_text=config.text,
            filename=str(file),
        )
    try:
        _place(config, folder)
        checked = check_run_settings(config.to_dict())
        check_run_paths(checked, folder)
        # What has passed is what is trained with.
        config = Config(checked, cfg_text=config.text, filename=str(file))
    except SettingsRefusedError as error:
        raise PretrainError(
            f"{file}: {reason(error)}. What lies in the folder of a run is read as data; if you "
            f"trust whoever wrote it, tools/train.py {file} --resume runs it."
        ) from None
    except (AttributeError, TypeError, KeyError):
        raise PretrainError(f"{file}: it is no config of pretrain.py. {ANOTHER}") from None
    return RunSettings(config, old if moved else None)


def check_files(folder: Path) -> None:
    """Makes sure that nothing of a run's own hangs, floods or leads out of its folder.

    Raises:
        PretrainError: Names what is no regular file, or a link that leads out of the folder: the
            host would write over what it leads to.
    """
    inside = os.path.realpath(folder)
    entries = sorted(os.listdir(folder))
    checkpoints = [name for name in entries if name.endswith(".pth")]
    for name in dict.fromkeys((*READ, *checkpoints)):
        file = folder / name
        if not os.path.lexists(file):
            continue
        if not file.is_file():
            kind = "a folder" if file.is_dir() else "a pipe, a device or a link to nothing"
            raise PretrainError(
                f"{printable(file)}: not a regular file: {kind}. Remove it, or name another --out."
            )
    for name in entries:
        file, place = folder / name, os.path.realpath(folder / name)
        if name != "unpacked" and file.is_symlink() and not Path(place).is_relative_to(inside):
            raise PretrainError(
                f"{printable(file)} is a link to {printable(place)}, and a run writes into its own "
                "folder only. Put a copy in its place, or name another --out."
            )
    unpacked = folder / "unpacked"
    if unpacked.is_symlink():
        raise PretrainError(
            f"{printable(unpacked)} is a link. Put the folder in its place, or remove it."
        )


def judged(folder: Path) -> int:
    """The last epoch that has a verdict, 0 for none.

    Raises:
        PretrainError: ``health.jsonl`` cannot be read.
    """
    return max((line["epoch"] for line in _health(folder)), default=0)


def last_verdict(folder: Path) -> str | None:
    """The verdict on the last epoch that has one, with its reason; None where there is none.

    Raises:
        PretrainError: ``health.jsonl`` cannot be read.
    """
    lines = [line for line in _health(folder) if isinstance(line.get("verdict"), str)]
    if not lines:
        return None
    last = max(lines, key=lambda line: line["epoch"])
    return printable(f"{last['verdict']}: {last.get('reason')}"[:300])


def _health(folder: Path) -> list[dict[str, Any]]:
    """The lines of ``health.jsonl`` that are of an epoch."""
    file = folder / "health.jsonl"
    if not os.path.lexists(file):
        return []
    try:
        lines = read_json_lines(file)[0]
    except FileRefusedError as error:
        raise PretrainError(f"{file}: {error}. {ANOTHER}") from None
    return [line for line in lines if isinstance(n := line.get("epoch"), int) and 0 <= n < 1e9]


def epoch_of(checkpoint: Path) -> int:
    """The epochs that a checkpoint has behind it.

    Raises:
        CheckpointError: It cannot be read, or does not say.
    """
    meta = read_checkpoint(checkpoint, mmap=True).get("meta")
    epoch = meta.get("epoch") if isinstance(meta, dict) else None
    if not isinstance(epoch, int):
        raise CheckpointError(
            f"{checkpoint} does not say how many epochs it has behind it: it is no checkpoint of a "
            "training. Write the name of another one into last_checkpoint, beside it."
        )
    return epoch


def move_texts(folder: Path, old: str) -> None:
    """Lets the fine-tuning configs of a folder that was moved name the weights that lie there."""
    for name in FINE_TUNING:
        file = folder / name
        if file.is_file():
            text = read_text(file)
            moved = text.replace(f"{old.rstrip('/')}/", f"{folder}/")
            if moved != text:
                write_text(file, moved)


def moved_paths(value: Any, folders: Sequence[tuple[str, str]]) -> Any:
    """Nested settings with every path in one folder turned into one in another.

    Args:
        value: Dicts, lists, tuples and plain values.
        folders: (old, new); the first that a path lies in counts.
    """
    if isinstance(value, dict):
        return {key: moved_paths(item, folders) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return type(value)(moved_paths(item, folders) for item in value)
    for old, new in folders if isinstance(value, str) else ():
        if value == old or value.startswith(f"{old}/"):
            return new + value[len(old) :]
    return value


def _place(config: Config, folder: Path) -> None:
    """Sets the paths of the run's own, and what only one start of it was told."""
    config.work_dir = str(folder)
    config.resume = False
    first = folder / FIRST
    kept = config.get("load_from")
    if first.is_file():
        config.load_from = str(first)
    elif isinstance(kept, str) and Path(kept).parent == folder:
        config.load_from = None  # a checkpoint that an earlier start went on from
    data = config.train_dataloader.dataset
    if data.get("type") in ("ListedImages", "TiledImages"):
        data.ann_file = str(folder / FILES)
    if data.get("type") == "TiledImages":
        data.tile_file = str(folder / TILES)
    for hook in config.get("custom_hooks") or ():
        if hook.get("type") == "OpeningHook":
            hook.path = str(folder / OPENING)
