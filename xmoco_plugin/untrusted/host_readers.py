# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How a host's datasets read files: what they would run is refused, what they decode is checked."""

from typing import Any

from .settings import SettingsRefusedError

# mmengine chooses a reader by the ending, and PyYAML's Loader, which it takes, calls functions that
# a file names just as pickle does.
RUNS = (".pkl", ".pickle", ".yaml", ".yml")
# Datasets of the hosts that read a pickle, or an array of objects, whatever its name.
UNPICKLES = (
    *("RefCOCO", "RefCocoDataset", "DODDataset", "OpenImagesDataset"),
    "OpenImagesChallengeDataset",
)
CHECK = "CheckImageFile"
TO_JSON = "convert it to JSON once, where you trust it"


def refuse_code_in_data(settings: Any, where: str = "") -> None:
    """Refuses settings of datasets and their pipelines by which a host would run what a file holds.

    Args:
        settings: Of dataloaders, datasets or transforms, at any depth.
        where: Their name, for the message.

    Raises:
        SettingsRefusedError: A file that is unpickled or read as YAML with objects; a dataset that
            reads nothing else; an expression in the place of a type of numbers.
    """
    waiting = [(where, settings)]
    while waiting:
        place, value = waiting.pop()
        if isinstance(value, dict):
            _refuse(place, value)
            waiting += [(f"{place}.{key}".lstrip("."), item) for key, item in value.items()]
        elif isinstance(value, (list, tuple)):
            waiting += [(f"{place}[{i}]", item) for i, item in enumerate(value)]
        elif isinstance(value, str) and value.lower().endswith(RUNS):
            raise SettingsRefusedError(
                f"{place}={value!r}: the host would run what such a file holds as code; {TO_JSON}."
            )


def _refuse(place: str, part: dict) -> None:
    kind = part.get("type")
    name = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
    if name.split(".")[-1] in UNPICKLES:
        raise SettingsRefusedError(
            f"{place}: {name} unpickles files, which runs what they hold as code; {TO_JSON}, in "
            "COCO format, and name a dataset that reads it."
        )
    if part.get("decode_backend") == "pickle":
        raise SettingsRefusedError(
            f"{place}.decode_backend='pickle': the host would run what the files hold as code; "
            "store the arrays with numpy.save, and name 'numpy'."
        )
    dtype = part.get("dtype")
    if name.startswith("torchvision/") and isinstance(dtype, str) and not dtype.isidentifier():
        raise SettingsRefusedError(
            f"{place}.dtype={dtype!r}: the host would run it as code; name one such as 'float32'."
        )


def guard_reading(settings: Any) -> bool:
    """Puts a ``CheckImageFile`` before every transform of a host that reads an image's file.

    Args:
        settings: Of dataloaders or datasets, at any depth. Their pipelines are changed in place;
            one that has its own check is left alone.

    Returns:
        Whether any was changed.
    """
    changed = False
    waiting = [settings]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            waiting += value.values()
            pipeline = value.get("pipeline")
            changed |= isinstance(pipeline, list) and _guard(pipeline)
        elif isinstance(value, (list, tuple)):
            waiting += value
    return changed


def _guard(pipeline: list) -> bool:
    kinds = [step.get("type") if isinstance(step, dict) else None for step in pipeline]
    names = [getattr(kind, "__name__", str(kind)).split(".")[-1] for kind in kinds]
    if "LoadImageFromFile" not in names or CHECK in names:
        return False
    pipeline.insert(names.index("LoadImageFromFile"), dict(type=CHECK))
    return True
