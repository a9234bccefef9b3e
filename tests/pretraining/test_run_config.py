# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The config of a run: complete, the views that were chosen, and it trains."""

from dataclasses import replace

import pytest
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from xmoco_plugin.pretraining import (
    Choices,
    Scan,
    backbone_config,
    check_labels,
    knn_sets,
    probe,
    run_config,
    write_list,
)
from xmoco_plugin.views import RECIPES, build_recipes

from ..tiny_runner import QuietRunner
from .folder import draw


def written(tmp_path, name: str, size: int = 32, **choices) -> Config:
    """A run's config, written to a file and read back; 8 images are listed."""
    folder = draw(tmp_path / "images", 8)
    write_list(Scan(good=sorted(str(p) for p in folder.iterdir())), tmp_path)
    (tmp_path / "opening.txt").write_text("begins")
    settings = dict(batch_size=4, queue_len=4, epochs=1, momentum=0.01, lr=0.01, workers=0)
    chosen = Choices(name, size, **{**settings, **choices})
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        outputs = probe(backbone_config(name, size, 1), size)
        cfg = run_config(chosen, outputs, tmp_path)
    (tmp_path / "config.py").write_text(cfg.pretty_text)
    return Config.fromfile(str(tmp_path / "config.py"))


@pytest.mark.parametrize("name", ["resnet18", "vit-small", "convnext:atto"])
def test_the_written_config_needs_nothing_else_and_trains(tmp_path, name):
    cfg = written(tmp_path, name)
    assert "_base_" not in (tmp_path / "config.py").read_text()
    cfg.experiment_name = f"own-{name}"
    runner = QuietRunner.from_cfg(cfg)
    runner.train()
    assert runner.iter == 2
    assert (tmp_path / "epoch_1.pth").is_file()
    assert (tmp_path / "backbone.pth").is_file()


def test_preflight_knows_which_settings_the_user_has_given(tmp_path):
    chosen = Choices("resnet18", 32, batch_size=8, queue_len=4, epochs=1)
    chosen.why |= dict(batch_size="given (by itself: 2)", queue_len="at most a quarter")
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        outputs = probe(backbone_config("resnet18", 32, 1), 32)
        cfg = run_config(chosen, outputs, tmp_path)
    hook = next(hook for hook in cfg.custom_hooks if hook.type == "PreflightHook")
    assert hook.given == ["batch_size"]


def test_views_are_of_the_chosen_size_and_small_ones_without_blur(tmp_path):
    small, large = (
        next(
            step
            for step in written(
                tmp_path / str(size), "resnet18", size, crop_scale=(0.5, 1.0)
            ).train_dataloader.dataset.pipeline
            if step.type == "TwoViews"
        ).views
        for size in (96, 128)
    )
    v2 = RECIPES["mocov2"][0]
    chosen = [replace(v2, size=size, crop_scale=(0.5, 1.0)) for size in (96, 128)]
    assert build_recipes(small.to_dict()) == (replace(chosen[0], blur_prob=0.0),) * 2
    assert build_recipes(large.to_dict()) == (chosen[1],) * 2


def test_infonce_and_both_terms_have_the_chosen_temperature(tmp_path):
    head = written(tmp_path, "resnet18", temperature=0.1).model.head
    assert [head.temperature, head.consistency.temperature, head.uniformity.temperature] == [
        0.1
    ] * 3


def test_a_vit_gets_the_two_unlike_views_of_mocov3(tmp_path):
    cfg = written(tmp_path, "vit-small", 128, crop_scale=(0.08, 1.0))
    (step,) = (s for s in cfg.train_dataloader.dataset.pipeline if s.type == "TwoViews")
    first, second = build_recipes(step.views.to_dict())
    assert (first, second) == tuple(
        replace(recipe, size=128, crop_scale=(0.08, 1.0)) for recipe in RECIPES["mocov3"]
    )
    assert first != second


def test_a_long_run_keeps_twenty_checkpoints_worth_and_the_last(tmp_path):
    cfg = written(tmp_path, "resnet18", epochs=200, optimizer="AdamW", lr=0.5)
    assert cfg.optim_wrapper.optimizer.to_dict() == dict(type="AdamW", lr=0.5, weight_decay=0.05)
    assert cfg.default_hooks.checkpoint.interval == 10
    assert cfg.default_hooks.checkpoint.save_last
    assert cfg.param_scheduler[0].T_max == 200


def test_class_folders_are_halved_without_overlap_and_splits_are_kept(tmp_path):
    for name in "xyz":
        draw(tmp_path / "plain" / name, 5)
        draw(tmp_path / "split" / "train" / name, 3)
        draw(tmp_path / "split" / "val" / name, 2)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        bank, queries = (DATASETS.build(s) for s in knn_sets(str(tmp_path / "plain"), 32))
        paths = [
            {data.get_data_info(i)["img_path"] for i in range(len(data))}
            for data in (bank, queries)
        ]
        assert len(paths[0] | paths[1]) == 15
        assert not paths[0] & paths[1]
        assert {len(p) for p in paths} <= {6, 9}
        assert bank[0]["inputs"].shape == (3, 32, 32)
        train, val = (DATASETS.build(s) for s in knn_sets(str(tmp_path / "split"), 32))
    assert (len(train), len(val)) == (9, 6)


def test_labels_of_one_class_or_none_are_refused(tmp_path):
    draw(tmp_path / "one" / "x", 2)
    assert "holds 1 folders" in str(check_labels(str(tmp_path / "one")))
    assert "no such folder" in str(check_labels(str(tmp_path / "none")))
    draw(tmp_path / "half" / "train" / "x", 2)
    assert "neither val/ nor test/" in str(check_labels(str(tmp_path / "half")))
    draw(tmp_path / "one" / "y", 2)
    assert check_labels(str(tmp_path / "one")) is None
