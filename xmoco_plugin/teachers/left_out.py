# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What of a file no network takes, in words."""

import re
from collections import Counter
from collections.abc import Sequence

from ..untrusted import printable

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
