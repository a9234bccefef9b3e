# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""benchmarks/wait_policy.py: fair turns, ratios of rounds."""

import pytest
import torch


def test_the_policies_take_turns_and_are_compared_round_by_round(load, monkeypatch):
    tool = load("wait_policy")
    asked, seconds = [], {"not set": iter([4.0, 9.0, 2.0]), "PASSIVE": iter([2.0, 3.0, 2.0])}

    def ask(worker: str) -> list[float]:
        asked.append(worker)
        return [next(seconds[worker]), 0.5]

    monkeypatch.setattr(tool, "ask", ask)
    workers = {policy: policy for policy in tool.POLICIES}
    other, passive = tool.measure(workers, 3, "nothing")
    assert asked == ["not set", "PASSIVE", "PASSIVE", "not set", "not set", "PASSIVE"]
    assert (other["s a step"], passive["s a step"]) == (4.0, 2.0)
    assert passive["times as fast"] == pytest.approx(2.0)
    assert passive["in each round"] == "1 to 3"


def test_a_step_is_one_of_the_demos_model(load):
    threads = torch.get_num_threads()
    step = load("wait_policy").demo_step(batch=2, threads=1)
    step()
    torch.set_num_threads(threads)
