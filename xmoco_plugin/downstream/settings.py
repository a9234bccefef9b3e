# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the preparation of detectors and of segmentors reads and sets in a config."""

import hashlib
import importlib
import inspect
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, TypeGuard

from mmengine.config import Config, ConfigDict

from ..checkpoint import write_text
from ..weights import read_checkpoint
from .errors import DownstreamError

MENDED = "annotations"  # folder of what is written for the hosts, in the work dir


def mended_folder(cfg: Config) -> Path:
    """The folder of what is written for the hosts."""
    return Path(cfg.get("work_dir") or "work_dirs", MENDED)


def write_hashed(text: str, folder: Path, start: str, ending: str) -> Path:
    """Writes a file whose name has a hash of its text: the same text has the same file.

    Args:
        text: Of the file.
        folder: Made where it is not there.
        start: Of its name, before the hash.
        ending: Behind it.
    """
    digest = hashlib.sha256(text.encode()).hexdigest()[:8]
    file = folder.absolute() / f"{start}{digest}{ending}"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, text)
    return file


def class_names(cfg: Config) -> list[str]:
    """Returns the classes that a config asks for; none where the data decide."""
    names = cfg.get("class_names") or []
    return [names] if isinstance(names, str) else [str(name) for name in names]


def trained_meta(cfg: Config) -> dict[str, Any]:
    """Returns the classes, and the palette, that the weights of a test were trained with.

    The data of a test alone may name the same classes by other numbers, or lack the last of them.

    Args:
        cfg: Of a test, whose ``load_from`` names the weights; nothing is read of a training's.

    Returns:
        ``classes`` and maybe ``palette``; empty where the weights do not say it.

    Raises:
        CheckpointError: The weights cannot be read.
    """
    path = cfg.get("load_from")
    if cfg.get("train_cfg") or not path or "://" in path:
        return {}
    meta = read_checkpoint(path, mmap=True).get("meta")
    found = meta.get("dataset_meta") if isinstance(meta, dict) else None
    classes, palette = (
        found.get(key) if isinstance(found, dict) else None for key in ("classes", "palette")
    )
    if not _list_of(classes, str):
        return {}
    trained: dict[str, Any] = {"classes": list(classes)}
    if _list_of(palette, (list, tuple)) and all(_list_of(colour, int) for colour in palette):
        trained["palette"] = [list(colour) for colour in palette]
    return trained


def _list_of(value: object, kind: Any) -> TypeGuard[Sequence[Any]]:
    return (
        bool(value) and isinstance(value, (list, tuple)) and all(isinstance(v, kind) for v in value)
    )


def host_dataset(data: ConfigDict, scope: str) -> Any:
    """Returns the class of a dataset's settings, from mmdet or mmseg; None where they lack it."""
    if not isinstance(data.type, str):
        return data.type
    importlib.import_module(f"{scope}.datasets")
    return importlib.import_module(f"{scope}.registry").DATASETS.get(data.type)


def usual(kind: type, name: str, otherwise: Any) -> Any:
    """Returns what a parameter of a class is by default, its parents asked too."""
    for parent in kind.__mro__:
        made = vars(parent).get("__init__")
        found = inspect.signature(made).parameters.get(name) if made else None
        if found is not None and found.default is not inspect.Parameter.empty:
            return found.default
    return otherwise


def host_classes(kind: Any, metainfo: Any) -> tuple[list[str], dict[int, int] | None]:
    """Returns the classes of a set of mmseg, and what its labels become where they are others.

    Args:
        kind: The dataset's class, whose masks have the numbers of its ``METAINFO``.
        metainfo: Of its settings, or None.

    Raises:
        DownstreamError: Classes that the set does not have.
    """
    names = kind._load_metainfo(metainfo).get("classes")
    # A class method in mmseg's own sets, which that of DSDL's format is not.
    mapped = getattr(kind, "get_label_map", None)
    try:
        numbers = mapped(names) if inspect.ismethod(mapped) else None
    except ValueError as error:
        raise DownstreamError(
            f"the class lists differ: {error} Name classes of {kind.__name__}."
        ) from error
    return [str(name) for name in names or ()], numbers


def set_num_classes(cfg: Config, count: int, fill: bool) -> None:
    """Sets every head to so many classes, or checks that it is.

    Raises:
        DownstreamError: It is set to another number, and shall not be filled in.
    """
    for part in dicts(cfg.model):
        if "num_classes" not in part:
            continue
        if fill:
            part.num_classes = count
        elif part.num_classes != count:
            raise DownstreamError(
                f"the class lists differ: the dataset has {count} classes and {part.type} is set "
                f"to {part.num_classes}. Set its num_classes."
            )


def dicts(value: object) -> Iterator[ConfigDict]:
    """Yields every dict inside a config, itself too."""
    if isinstance(value, dict):
        yield value  # type: ignore[misc]
        for item in value.values():
            yield from dicts(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from dicts(item)
