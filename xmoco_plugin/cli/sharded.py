# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Ways to spread an optimizer over processes that a training of ours cannot go on from."""

from collections.abc import Mapping
from typing import Any

from xmoco_plugin.downstream.settings import dicts

ZERO = "ZeroRedundancyOptimizer"


def refuse_sharded(cfg: Mapping[str, Any]) -> None:
    """Ends before a training whose first checkpoint would wait for ever, or that we cannot watch.

    Raises:
        ValueError: The setting, with the reason and the way out.
    """
    parts = dicts(cfg.get("optim_wrapper"))
    if any(str(part.get("type")).rpartition(".")[2] == ZERO for part in parts):
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
