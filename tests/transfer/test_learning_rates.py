# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a learning rate is judged on: images of the training set, by whatever loaders there are."""

from mmengine.config import Config

from xmoco_plugin.cli import learning_rates


def test_a_fine_tuning_without_validation_is_judged_by_its_test_alone(tmp_path):
    trained = dict(data_root="D", ann_file="train.json", data_prefix=dict(img="train"))
    judged = dict(data_root="E", ann_file="val.json", data_prefix=dict(img="val"))
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=trained),
            val_dataloader=None,
            val_evaluator=None,
            test_dataloader=dict(dataset=judged),
            test_evaluator=dict(type="CocoMetric", ann_file="val.json"),
        )
    )
    listed = tmp_path / "held_out.json"
    learning_rates._judge_on(cfg, listed)
    assert cfg.val_dataloader is None
    assert cfg.test_dataloader.dataset == trained | dict(ann_file=str(listed))
    assert cfg.test_evaluator.ann_file == str(listed)
