# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What `HealthHook` knows of a pass over the data that has not had its verdict, in a checkpoint."""

from collections.abc import Mapping
from typing import Any

from mmengine.dist import get_rank

PASS = "health_pass"  # in a checkpoint
WINDOW = {
    "looks": int,
    "sums": dict,
    "negatives": int,
    "totals": dict,
    "weights": dict,
    "embeddings": object,
    "histograms": object,
}


def pass_state(
    early: str | None,
    pending: dict[str, Any] | None,
    gradients: list[float],
    windows: list[dict[str, Any]],
) -> dict[str, Any]:
    """The entry of a checkpoint.

    Args:
        early: Why it is too early for a verdict.
        pending: The line of a pass that has ended.
        gradients: Norms since the last reading.
        windows: `HealthWindow.state` of each process, or of the first alone.
    """
    return dict(early=early, pending=pending, gradients=gradients, windows=windows)


def read_pass(found: Any) -> tuple[str | None, dict | None, list[float], dict] | None:
    """The entry's parts, the window that of this process; None where it is none of ours."""
    if not isinstance(found, Mapping) or not {"early", "pending"} <= found.keys():
        return None
    gradients, windows = found.get("gradients"), found.get("windows")
    if not isinstance(gradients, list) or not isinstance(windows, list) or not windows:
        return None
    window = windows[min(get_rank(), len(windows) - 1)]
    if not isinstance(window, dict):
        return None
    if not all(isinstance(window.get(name), kind) for name, kind in WINDOW.items()):
        return None
    return found["early"], found["pending"], gradients, window
