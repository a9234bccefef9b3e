# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""When a run that has become worse is stopped, when it is not, and what it says."""

import pytest

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.hooks import StopWhenWorseHook
from xmoco_plugin.hooks.health_hook import VERDICT

from .start_run import build

WARM_UP = dict(
    type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=2, convert_to_iter_based=True
)


def test_a_run_that_falls_by_more_than_two_errors_stops_and_hands_over_the_start(tmp_path):
    runner = build(tmp_path, [14, 7, 7, 7, 7])  # 7 of 16 lost, error sqrt(7) of 16
    runner.train()
    assert runner.epoch == 1
    assert read_checkpoint(tmp_path / "backbone.pth")["meta"]["source"] == "start.pth"
    said = (tmp_path / "stopped.txt").read_text()
    assert said.startswith(
        "stopped at epoch 1 of 4: worse than it began: 87.5 % -> 43.8 % by kNN, -43.8 ± 16.5 "
        "points (16 queries), more than 2 standard errors; train at a lower rate"
    )
    assert runner.message_hub.get_info(VERDICT)["verdict"] == "worse than it began"


@pytest.mark.parametrize(
    ("right", "options", "epochs"),
    [
        ([14, 11, 11, 11], {}, 3),  # 3 of 16 lost: 1.7 errors
        ([14, 7, 7], dict(stop=False), 2),
        ([14, 7, 7], dict(pretrained=False), 2),
        ([14, 7, 14, 14, 14, 14, 14, 14, 14], {}, 8),  # an eighth of the run is no ground
        ([14, 7, 14, 14], dict(param_scheduler=[WARM_UP]), 3),
    ],
    ids=["within the error", "told to go on", "random start", "too soon", "warm-up"],
)
def test_a_run_that_may_come_back_is_trained_to_its_end(tmp_path, right, options, epochs):
    runner = build(tmp_path, right, **options)
    runner.train()
    assert runner.epoch == epochs
    assert not (tmp_path / "stopped.txt").exists()


def test_a_stopped_run_that_is_resumed_trains_on_without_the_old_word(tmp_path):
    build(tmp_path, [14, 7, 14]).train()
    assert (tmp_path / "stopped.txt").exists()
    runner = build(tmp_path, [14, 7, 14], resume=True)
    runner.train()
    assert runner.epoch == 2
    assert not (tmp_path / "stopped.txt").exists()


def test_shares_beyond_the_run_are_refused():
    with pytest.raises(ValueError, match="in \\[0, 1\\], got 2"):
        StopWhenWorseHook(min_share=2)
