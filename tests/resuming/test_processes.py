# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Two processes, stopped after the same step by a signal to one of them."""

import os
import tempfile
from pathlib import Path

from ..multiprocess import run_processes
from . import runs

WRAPPER = dict(
    model_wrapper_cfg=dict(
        type="MMDistributedDataParallel", device_ids=None, broadcast_buffers=False
    ),
    launcher="pytorch",
)


def stopped_and_resumed(rank: int, size: int, folder: str) -> list:
    os.environ["LOCAL_RANK"] = str(rank)
    whole, cut = Path(folder, "whole"), Path(folder, "cut")
    runs.run(whole, **WRAPPER)
    # Only the second is asked.
    ended = runs.run(cut, ask=[5] if rank == 1 else None, **WRAPPER).iter
    runs.run(cut, resume=True, **WRAPPER)
    unlike = runs.unlike(whole, cut) if rank == 0 else []
    return [ended, unlike]


def test_two_processes_stop_after_one_step_and_go_on_bit_for_bit():
    with tempfile.TemporaryDirectory() as folder:
        first, second = run_processes(stopped_and_resumed, 2, folder)
    assert first[0] == second[0] in (4, 5)
    assert first[1] == []
