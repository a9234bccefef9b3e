# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""RunSummaryHook where there is no validation, no pair of views, no epoch or no label."""

import numpy as np

from xmoco_plugin.hooks import RunSummaryHook

from .. import models, tiny_runner
from .summary_run import build, read


def test_without_a_validation_the_accuracies_are_not_measured(tmp_path):
    runner = build(tmp_path, validate=False)
    runner.train()
    text = next(h for h in runner.hooks if isinstance(h, RunSummaryHook)).framed()
    assert text.count("not measured") == 4
    assert (tmp_path / "summary.png").exists()


def test_a_supervised_model_gets_its_curve_without_maps(tmp_path):
    loader = tiny_runner.loader(views=False)
    build(tmp_path, validate=False, model=models.classifier(), train_dataloader=loader).train()
    assert list(read(tmp_path)["losses"]) == ["loss"]
    assert (tmp_path / "summary.png").exists()
    assert not (tmp_path / "summary_maps.npz").exists()


def test_training_counted_in_iterations_has_iterations_on_its_axis(tmp_path):
    build(
        tmp_path,
        summary=dict(iters_per_point=3, picture=False),
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=7, val_interval=4),
        train_dataloader=tiny_runner.loader(infinite=True),
    ).train()
    record = read(tmp_path)
    assert record["unit"] == "iteration"
    assert [x for x, _ in record["losses"]["loss_nce"]] == [3, 6, 7]
    assert [x for x, _ in record["accuracy"]] == [0, 4, 7]


def test_unlabelled_images_are_shown_without_classes(tmp_path):
    loader = tiny_runner.loader(labelled=False)
    build(tmp_path, validate=False, train_dataloader=loader).train()
    with np.load(tmp_path / "summary_maps.npz") as maps:
        assert maps["labels"].size == 0
        assert maps["after"].shape == (8, 8)


def test_images_too_many_for_raw_pixels_leave_that_line_out(tmp_path, monkeypatch):
    monkeypatch.setattr("xmoco_plugin.hooks.run_summary_hook.MAX_PIXEL_BYTES", 1000)
    build(tmp_path, summary=dict(picture=False)).train()
    record = read(tmp_path)
    assert record["raw_pixels"] is None
    assert record["largest_class"] == 25
