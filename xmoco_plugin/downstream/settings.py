# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the preparation of detectors and of segmentors reads and sets in a config."""

from collections.abc import Iterator

from mmengine.config import Config, ConfigDict

from .errors import DownstreamError


def class_names(cfg: Config) -> list[str]:
    """Returns the classes that a config asks for; none where the data decide."""
    names = cfg.get("class_names") or []
    return [names] if isinstance(names, str) else [str(name) for name in names]


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
