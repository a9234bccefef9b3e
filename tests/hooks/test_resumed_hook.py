# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A resumed run says what comes from its checkpoint, and logs what it computes."""

import json

from .. import models, tiny_runner

COSINE = dict(type="CosineAnnealingLR", T_max=2, by_epoch=True, end=9)
HOST = models.config("MoCo", data_preprocessor=tiny_runner.config("x").model.data_preprocessor)


def train(folder, epochs, hooks=("ResumedHook",), t_max=2, lr=0.05, **options):
    runner = tiny_runner.build(
        folder,
        hooks=[dict(type=name) for name in hooks],
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=epochs),
        param_scheduler=dict(COSINE, T_max=t_max),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=lr, momentum=0.9)),
        default_hooks=dict(logger=dict(type="LoggerHook", interval=1)),
        **options,
    )
    said = []
    runner.logger.warning = lambda text, *args, **kwargs: said.append(str(text))
    runner.train()
    return [text for text in said if text.startswith("resumed")]


def test_a_schedule_and_a_rate_that_the_checkpoint_overrides_are_named_with_both_values(tmp_path):
    assert train(tmp_path, 1) == []
    assert train(tmp_path, 2, resume=True) == []
    [said] = train(tmp_path, 3, resume=True, t_max=5, lr=0.5)
    assert "param_scheduler.0 (CosineAnnealingLR) T_max=2 (config: 5)" in said
    assert "optimizer lr=0.05 (config: 0.5)" in said
    assert "load_from=FILE" in said


def test_terms_that_another_algorithm_has_logged_end_with_it(tmp_path):
    train(tmp_path, 1)
    train(tmp_path, 2, resume=True, model=HOST)
    # One file, where both began in the same second.
    files = tmp_path.glob("*/vis_data/scalars.json")
    lines = [json.loads(line) for file in files for line in file.read_text().splitlines()]
    assert sorted(line["step"] for line in lines) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert all("loss" in line for line in lines)
    assert {line["step"] for line in lines if "loss_consistency" in line} == {1, 2, 3, 4}
