# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Whether two labelled sets mean the same by the number of a class."""

from typing import Any


def classes_of(dataset: Any) -> tuple[str, ...]:
    """Names of the classes of a data set by their numbers; empty where it names none."""
    return tuple((getattr(dataset, "metainfo", None) or {}).get("classes") or ())


def unlike_classes(known: Any, asked: Any) -> str | None:
    """Why the numbers of two sets do not fit, in a sentence; None where they do.

    Names decide. The second set may name fewer, if the numbers of those that it names are the same;
    a set that names none is not judged.

    Args:
        known: Data set that is learnt from, or compared with.
        asked: Data set whose classes are asked for.
    """
    ours, theirs = classes_of(known), classes_of(asked)
    if not ours or not theirs or ours[: len(theirs)] == theirs:
        return None
    number = next(i for i, name in enumerate(theirs) if i >= len(ours) or ours[i] != name)
    here = repr(ours[number]) if number < len(ours) else "none"
    odd = sorted(set(ours) ^ set(theirs))
    only = f" (only one of them has {', '.join(odd[:10])})" if odd else ""
    return f"class {number} is {here} in one and {theirs[number]!r} in the other{only}"
