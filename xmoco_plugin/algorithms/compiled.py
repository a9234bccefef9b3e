# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Encoders compiled in place, as CUDA graphs where torch is asked for them."""

from collections.abc import Iterable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import nn

# Modes of torch.compile that capture CUDA graphs.
_GRAPH_MODES = ("reduce-overhead", "max-autotune")


def compile_in_place(parts: Iterable[nn.Module], options: bool | dict) -> bool:
    """Compile modules in place, which leaves their state dict alone.

    Args:
        parts: to be compiled, each by itself.
        options: of ``torch.compile``; ``True`` for its defaults, ``False`` to compile nothing.

    Returns:
        Whether the options ask for CUDA graphs. Their outputs lie where the next replay writes,
        so the caller has to tell torch where a step begins (``cudagraph_mark_step_begin``).
    """
    if options is False:
        return False
    chosen = {} if options is True else dict(options)
    for part in parts:
        part.compile(**chosen)
    inductor = chosen.get("options") or {}
    return bool(
        chosen.get("mode") in _GRAPH_MODES
        or chosen.get("backend") == "cudagraphs"
        or inductor.get("triton.cudagraphs")
    )


def without_graphs(graphs: bool) -> AbstractContextManager:
    """Context in which modules run as they are written, if they have CUDA graphs.

    What a graph returns is written over by a later replay, and each size of a batch is a graph
    more: wrong for features that somebody keeps, of batches of any size.
    """
    return torch.compiler.set_stance("force_eager") if graphs else nullcontext()
