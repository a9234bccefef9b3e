# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from pathlib import Path

import pytest
from mmengine.config import Config

from xmoco_plugin.untrusted import read_settings
from xmoco_plugin.views import training_size

CONFIGS = Path(__file__).resolve().parents[2] / "configs"


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("xmoco_r50_8xb32.py", (224, "RandomResizedCrop")),
        ("xmoco_r18_1xb32_folder-small.py", (96, "RandomResizedCrop")),
        ("demo/xmoco_r18_1xb128_patches.py", (40, "RandomResizedCrop")),
        ("xmoco_r18_1xb512_cifar10_resident.py", (32, "TwoViewDataPreprocessor")),
        ("xmoco_r50_8xb32_deviceviews.py", (224, "TwoViewDataPreprocessor")),
    ],
)
def test_a_config_says_what_it_trains_on_as_does_its_text_in_a_checkpoint(name, found):
    cfg = Config.fromfile(CONFIGS / name)
    assert training_size(cfg) == found
    assert training_size(Config(read_settings(cfg.pretty_text))) == found


def loader(*pipeline) -> dict:
    return dict(train_dataloader=dict(dataset=dict(type="Wrapped", datasets=[[*pipeline]])))


def test_of_several_views_the_largest_counts_and_other_loaders_do_not():
    crops = [[dict(type="RandomResizedCrop", scale=s)] for s in (96, (160, 128))]
    cfg = loader(dict(type="MultiView", num_views=[2, 6], transforms=crops))
    cfg["val_dataloader"] = loader(dict(type="RandomResizedCrop", scale=384))
    assert training_size(cfg) == (160, "RandomResizedCrop")
    views = loader(dict(type="mmpretrain.TwoViews", views=["mocov3", dict(size=[64, 48])]))
    assert training_size(views) == (224, "TwoViews")
    assert training_size(loader(dict(type="torchvision/RandomResizedCrop", size=80))) == (
        80,
        "RandomResizedCrop",
    )


def test_sizes_that_grow_count_at_their_last():
    cfg = dict(
        model=dict(data_preprocessor=dict(type="TwoViewDataPreprocessor", views="mocov2")),
        custom_hooks=[dict(type="ProgressiveSizeHook", first=64, last=128)],
    )
    assert training_size(cfg) == (128, "ProgressiveSizeHook")


def test_what_names_no_size_or_cannot_be_read_gives_none():
    assert training_size({}) is None
    assert training_size(loader(dict(type="PackInputs"))) is None
    assert training_size(loader(dict(type="RandomResizedCrop", scale=None))) is None
    assert training_size(loader(dict(type="TwoViews", views=dict(recipe="unknown")))) is None
