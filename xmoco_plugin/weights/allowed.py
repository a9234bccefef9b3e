# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The few classes, beside torch's own, that a checkpoint may hold: all of them only hold data."""

from argparse import Namespace
from collections.abc import Callable
from pickle import UnpicklingError
from typing import Any

import numpy as np
import torch
from mmengine.logging import HistoryBuffer

try:  # numpy 2 moved the private package; pickles of either version name either place
    from numpy._core import multiarray
except ImportError:
    from numpy.core import multiarray  # type: ignore[no-redef]


def allow_checkpoint_classes() -> None:
    """Let ``torch.load(weights_only=True)`` build the few classes a checkpoint holds.

    These are mmengine's ``HistoryBuffer`` (the logged scalars), numpy's arrays and scalars, under
    the module names of numpy 1 and of numpy 2, and ``argparse.Namespace``, in which MAE, DINO and
    timm store the options of a training. All of them only hold data. A ``HistoryBuffer`` also asks
    for ``getattr``, to fetch its own four statistics; with the real one a file could reach
    anything, so that name gets a stand-in that fetches those four and nothing else. May be called
    twice.
    """
    allowed: list[Any] = [HistoryBuffer, Namespace, np.ndarray, np.dtype]
    # A pickled dtype is built through its own class, for example numpy.dtypes.Float64DType.
    allowed += {type(np.dtype(code)) for code in "?bhilqBHILQefdFDSU"}
    named = [(item, f"{item.__module__}.{item.__qualname__}") for item in allowed]
    for module in ("numpy.core.multiarray", "numpy._core.multiarray"):
        named += [
            (getattr(multiarray, name), f"{module}.{name}") for name in ("_reconstruct", "scalar")
        ]
    named.append((_history_statistic, "builtins.getattr"))
    # Pairs throughout: the maintained mmengine takes its own, unnamed entries back after each
    # load, and would take ours with them.
    torch.serialization.add_safe_globals(named)


def _history_statistic(owner: Any, name: Any) -> Callable:
    """Stands for ``getattr`` while a checkpoint is read."""
    if owner is HistoryBuffer and name in ("min", "max", "current", "mean"):
        return HistoryBuffer.__dict__[name]
    raise UnpicklingError(f"GLOBAL getattr of {getattr(owner, '__name__', 'something')}, {name!r}")
