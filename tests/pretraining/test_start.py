# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run from good weights: its config, its stop, and what is said of the weights it hands over."""

import pytest
import torch
from mmengine.config import Config

from xmoco_plugin.pretraining import PretrainError, go_on_anyway, handed_over, stopped
from xmoco_plugin.pretraining.start import add_start_hooks
from xmoco_plugin.views import build_recipes

from ..tiny_runner import QuietRunner
from .test_run_config import written

GENTLE = dict(optimizer="AdamW", lr=3e-4, warmup=0.1, key_view="weak")


def test_a_tenth_of_the_run_is_warm_up_though_that_is_no_whole_number_of_epochs(tmp_path):
    cfg = written(tmp_path, "resnet18", epochs=15, **GENTLE)  # 30 steps, 2 an epoch
    cfg.custom_hooks = []
    runner = QuietRunner.from_cfg(cfg)
    runner.train_loop  # noqa: B018 (builds it)
    runner.optim_wrapper = runner.build_optim_wrapper(runner.optim_wrapper)
    schedulers = runner.build_param_scheduler(runner.param_schedulers)
    rates = []
    for _ in range(30):
        rates.append(runner.optim_wrapper.get_lr()["lr"][0])
        for scheduler in schedulers:
            scheduler.step()
    assert rates[:3] == pytest.approx([3e-6, 3e-4 * (1 + 0.01) / 2, 3e-4])
    assert rates[2:] == sorted(rates[2:], reverse=True)
    assert rates[-1] < 3e-6


def test_a_weak_key_view_is_crop_and_flip_only(tmp_path):
    cfg = written(tmp_path, "resnet18", 128, **GENTLE)
    (step,) = (s for s in cfg.train_dataloader.dataset.pipeline if s.type == "TwoViews")
    query, key = build_recipes(step.views)
    assert (query.jitter_prob, query.grey_prob, query.blur_prob) == (0.8, 0.2, 0.5)
    assert (key.jitter_prob, key.grey_prob, key.blur_prob) == (0, 0, 0)
    assert (key.crop_scale, key.flip_prob, key.size) == (query.crop_scale, 0.5, 128)


@pytest.mark.parametrize(
    ("pretrained", "keep_going", "added"),
    [
        (False, False, ["BestExportHook", "FreshAveragesHook"]),
        (True, False, ["BestExportHook", "StopWhenWorseHook"]),
        (True, True, ["BestExportHook"]),
    ],
)
def test_only_a_run_from_good_weights_is_stopped_and_not_if_told_to_go_on(
    pretrained, keep_going, added
):
    hooks = [dict(type="HealthHook")]
    add_start_hooks(hooks, pretrained, 3, keep_going)
    assert [hook["type"] for hook in hooks[1:]] == added
    assert hooks[0].get("pretrained", False) is pretrained
    assert (hooks[1]["pretrained"], hooks[1]["labels_trained_on"]) == (pretrained, 3)


def test_a_stopped_run_that_is_to_go_on_loses_its_stop_and_the_word(tmp_path):
    hooks = [dict(type="HealthHook"), dict(type="StopWhenWorseHook")]
    (tmp_path / "stopped.txt").write_text("stopped at epoch 1 of 4: worse\n")
    assert stopped(tmp_path) == "stopped at epoch 1 of 4: worse"
    go_on_anyway(tmp_path, Config(dict(custom_hooks=hooks)))
    assert stopped(tmp_path) is None
    left = Config.fromfile(tmp_path / "config.py").custom_hooks
    assert [hook.type for hook in left] == ["HealthHook"]


def test_a_word_that_is_no_text_is_one_sentence(tmp_path):
    (tmp_path / "stopped.txt").mkdir()
    with pytest.raises(PretrainError, match="Remove it to go on"):
        stopped(tmp_path)


def test_the_record_says_which_weights_were_handed_over_and_what_flatters(tmp_path):
    assert handed_over(tmp_path) is None

    def write(**meta):
        torch.save({"state_dict": {}, "meta": meta}, tmp_path / "backbone.pth")

    write(source="epoch_3.pth", verdict="learning")
    assert handed_over(tmp_path) is None  # of a run begun before there was such a record
    write(source="start.pth", why="the weights that the run began with", labels_trained_on=7)
    assert handed_over(tmp_path) == (
        "backbone.pth holds start.pth: the weights that the run began with; 7 of the labelled "
        "images were trained on, which flatters that kNN"
    )
    write(source="start.pth", why="the best", labels_trained_on="at least 0")
    assert handed_over(tmp_path).endswith(
        "how many of the labelled images were trained on is not known (at least 0), and those "
        "flatter that kNN"
    )
