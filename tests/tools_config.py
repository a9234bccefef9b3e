# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A tiny XMoCo config as text, and images drawn for it, to run tools/ on."""

from pathlib import Path

import numpy as np
from PIL import Image

QUEUE, BATCH, IMAGES = 20, 4, 24  # two processes: 3 steps of 8 keys an epoch, 24 keys in 20 slots

CONFIG = f"""
default_scope = 'mmpretrain'
custom_imports = dict(imports=['xmoco_plugin'])
model = dict(
    type='XMoCo', queue_len={QUEUE}, feat_dim=8, momentum=0.1,
    data_preprocessor=dict(type='SelfSupDataPreprocessor', mean=[128.] * 3, std=[64.] * 3),
    backbone=dict(type='ResNet_CIFAR', depth=18, base_channels=4, stem_channels=4),
    neck=dict(type='MoCoV2Neck', in_channels=32, hid_channels=8, out_channels=8),
    head=dict(type='XMoCoHead', temperature=0.2, consistency=dict(), uniformity=dict()))
train_dataloader = dict(
    batch_size={BATCH}, num_workers=0, drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='CustomDataset', data_root='missing', with_label=False, pipeline=[
        dict(type='LoadImageFromFile'),
        dict(type='MultiView', num_views=2, transforms=[[
            dict(type='RandomResizedCrop', scale=8), dict(type='RandomFlip', prob=0.5)]]),
        dict(type='PackInputs')]))
train_cfg = dict(by_epoch=True, max_epochs=2)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.02, momentum=0.9))
param_scheduler = [dict(type='MultiStepLR', milestones=[1], gamma=0.1, by_epoch=True)]
default_hooks = dict(checkpoint=dict(type='CheckpointHook', interval=1))
randomness = dict(seed=0)
"""


def draw(folder: Path) -> Path:
    """Draws IMAGES small images into folder/images, a colour each; writes the config beside them.

    Returns:
        The path of the config.
    """
    (folder / "images").mkdir()
    rng = np.random.default_rng(0)
    for i in range(IMAGES):
        colour = rng.integers(0, 200, 3) + rng.integers(0, 56, (12, 12, 3))
        Image.fromarray(colour.astype(np.uint8)).save(folder / "images" / f"{i:02d}.png")
    (folder / "tiny.py").write_text(CONFIG)
    return folder / "tiny.py"
