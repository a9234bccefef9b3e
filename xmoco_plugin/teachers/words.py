# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A teacher's network, and what of its file no layer takes, in words."""

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from ..untrusted import printable
from .large import sizes_of
from .layouts import Layers

NAMED = 4  # kinds of tensors that a note names (ours)


def left_note(keys: Sequence[str]) -> str:
    """That tensors were left out, with their count and their kinds; or an empty text."""
    if not keys:
        return ""
    kinds = Counter(re.sub(r"\.\d+\.", ".N.", key) for key in keys)
    if len(kinds) > NAMED:
        kinds = Counter(key.partition(".")[0] for key in keys)
    ordered = sorted(kinds.items(), key=lambda kind: (-kind[1], kind[0]))[:NAMED]
    named = [f"{printable(kind)}{f' ({n:,})' if n > 1 else ''}" for kind, n in ordered]
    more = f" and {len(kinds) - NAMED:,} more kinds" if len(kinds) > NAMED else ""
    count = "1 tensor is" if len(keys) == 1 else f"{len(keys):,} tensors are"
    return f"{count} of none of the network's layers and left out: {', '.join(named)}{more}"


def named(settings: Mapping[str, Any]) -> str:
    """A network by its config, such as 'ResNet 50'."""
    if name := settings.get("model_name"):
        return f"{name} of timm" if settings["type"] == "TIMMBackbone" else str(name)
    which = settings.get("arch") or settings.get("depth") or ""
    return f"{settings['type']} {which if isinstance(which, str | int) else ''}".strip()


def described(settings: Mapping[str, Any], layers: Layers | None) -> str:
    """A network by its config and by what a file's layers show."""
    sizes = f" of {sizes_of(layers)}" if layers is not None and layers.kind == "vit" else ""
    return f"{named(settings)}{sizes}"
