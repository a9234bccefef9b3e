# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Ways to spread an optimizer over processes that a training of ours cannot go on from."""

from collections.abc import Iterator, Mapping
from typing import Any

ZERO = "ZeroRedundancyOptimizer"


def refuse_sharded(cfg: Mapping[str, Any]) -> None:
    """Ends before a training whose first checkpoint would wait for ever, or that we cannot watch.

    Raises:
        ValueError: The setting, with the reason and the way out.
    """
    if any(str(name).rpartition(".")[2] == ZERO for name in _types(cfg.get("optim_wrapper"))):
        raise ValueError(
            f"optim_wrapper.optimizer.type={ZERO}: it gathers its state from all processes for a "
            "checkpoint, and mmengine writes one on the first process alone, so that the first "
            "checkpoint waits for ever. Take the optimizer itself, such as AdamW: what it needs is "
            "in docs/several_machines.md."
        )
    runner = str(cfg.get("runner_type", "Runner")).rpartition(".")[2]
    if cfg.get("strategy") or runner == "FlexibleRunner":
        setting = "strategy" if cfg.get("strategy") else f"runner_type={runner}"
        raise ValueError(
            f"{setting}: mmengine's strategies (FSDP, DeepSpeed, ColossalAI) keep parts of the "
            "weights on each process and write checkpoints of their own. The key encoder follows "
            "whole weights, and exact resume, health and the guard of checkpoints read whole ones: "
            "take the setting out, and the model trains as in docs/several_machines.md."
        )


def _types(part: Any) -> Iterator[Any]:
    """Each ``type`` of a setting, at any depth."""
    if isinstance(part, Mapping):
        if "type" in part:
            yield part["type"]
        for value in part.values():
            yield from _types(value)
    elif isinstance(part, list | tuple):
        for value in part:
            yield from _types(value)
