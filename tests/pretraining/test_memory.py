# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A step is measured without a Runner, of each algorithm that a run is made of."""

import torch
from mmengine.logging import MessageHub

from xmoco_plugin.pretraining import Choices, measure_step
from xmoco_plugin.pretraining.backbones import Outputs
from xmoco_plugin.pretraining.run_config import model_config


def test_the_step_of_vit_small_is_measured_and_leaves_nothing_of_a_training_behind():
    model = model_config(Choices("vit-small", 32), Outputs(384, False))
    model["backbone"]["arch"] = dict(
        embed_dims=48, num_layers=1, num_heads=3, feedforward_channels=48
    )
    model["neck"] |= dict(in_channels=48, hid_channels=16, out_channels=8)
    model["head"]["head"]["predictor"] |= dict(in_channels=8, hid_channels=16, out_channels=8)
    before = dict(MessageHub.get_current_instance().runtime_info)
    cost = measure_step(model, 32, torch.device("cpu"), 4)
    assert cost.per_image > 0
    assert cost.checkpoint > 0
    assert MessageHub.get_current_instance().runtime_info == before
