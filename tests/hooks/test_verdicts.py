# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Verdicts on real runs, healthy ones and such as are made to fail, on patches of photographs."""

import pytest
import torch
from mmengine.config import Config
from mmengine.model import BaseModule
from mmpretrain.registry import MODELS

from xmoco_plugin.hooks.health_record import read_health

from ..tiny_runner import QuietRunner

pytest.importorskip("skimage")

CROP = dict(type="RandomResizedCrop", scale=32, crop_ratio_range=(0.2, 1.0))
JITTER = dict(type="ColorJitter", brightness=0.4, contrast=0.4, backend="cv2")
GRAY = dict(type="RandomGrayscale", prob=0.2, keep_channels=True)
FLIP = dict(type="RandomFlip", prob=0.5)
STRONG = [CROP, FLIP, JITTER, GRAY]
MOCO = dict(type="XMoCoHead", temperature=0.1)
XMOCO = MOCO | dict(consistency=dict(), uniformity=dict())
SGD = dict(type="SGD", lr=0.06, momentum=0.9, weight_decay=1e-4)


@MODELS.register_module(force=True)
class PullOnly(BaseModule):
    """The distance of query and key, without a negative: whatever is constant is best."""

    temperature = 0.1

    def loss(self, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor) -> dict:
        return dict(loss_pull=5 * (q - k).square().sum(dim=1).mean())


def train(folder, head=MOCO, views=STRONG, lr=0.06, seed=0, epochs=7) -> list[dict]:
    """Epochs of 8 iterations of 60 patches; the lines of the record."""
    model = dict(
        type="XMoCo",
        queue_len=240,
        feat_dim=64,
        momentum=0.03,  # the key encoder averages over 34 iterations: too early for 5 epochs
        exclude_unfilled=True,
        data_preprocessor=dict(
            type="SelfSupDataPreprocessor", mean=[123.7, 116.3, 103.5], std=[58.4, 57.1, 57.4]
        ),
        backbone=dict(type="ResNet", depth=18, base_channels=8, stem_channels=8),
        neck=dict(type="MoCoV2Neck", in_channels=64, hid_channels=64, out_channels=64),
        head=head,
    )
    loader = dict(
        batch_size=60,
        num_workers=0,
        drop_last=True,
        sampler=dict(type="DefaultSampler", shuffle=True),
        collate_fn=dict(type="default_collate"),
        dataset=dict(
            type="PhotoPatches",
            indices=list(range(0, 4080, 8)),
            pipeline=[
                dict(type="MultiView", num_views=2, transforms=[views]),
                dict(type="PackInputs"),
            ],
        ),
    )
    config = dict(
        default_scope="mmpretrain",
        work_dir=str(folder),
        experiment_name=folder.name,
        model=model,
        train_dataloader=loader,
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=epochs),
        optim_wrapper=dict(optimizer=SGD | dict(lr=lr)),
        default_hooks=dict(checkpoint=None),
        custom_hooks=[dict(type="HealthHook", interval=2)],
        randomness=dict(seed=seed),
        log_level="ERROR",
    )
    QuietRunner.from_cfg(Config(config)).train()
    return read_health(folder / "health.jsonl")


def words(lines: list[dict]) -> list[str]:
    return [line["verdict"] for line in lines]


@pytest.mark.parametrize(("head", "seed"), [(MOCO, 0), (XMOCO, 1), (XMOCO, 2)])
def test_a_healthy_run_is_never_called_a_failure(tmp_path, head, seed):
    found = words(train(tmp_path, head=head, seed=seed))
    assert found == ["too early"] * 5 + ["learning"] * 2


def test_without_negatives_in_the_loss_it_collapses(tmp_path):
    lines = train(tmp_path, head=dict(type="PullOnly"))
    assert lines[-1]["verdict"] == "collapsing"
    assert "similarity of 0.9" in lines[-1]["reason"]
    assert lines[-1]["values"]["neg_sim_mean"] > 0.93


def test_an_absurdly_high_temperature_is_named_at_the_first_epoch(tmp_path):
    lines = train(tmp_path, head=MOCO | dict(temperature=100.0), epochs=1)
    assert words(lines) == ["not learning"]
    assert "temperature of 100" in lines[0]["reason"]


def test_an_absurdly_low_temperature_collapses(tmp_path):
    assert train(tmp_path, head=MOCO | dict(temperature=1e-3))[-1]["verdict"] == "collapsing"


def test_weak_augmentations_are_named_though_the_loss_falls(tmp_path):
    lines = train(tmp_path, views=[CROP | dict(crop_ratio_range=(0.8, 1.0)), FLIP])
    first, last = lines[0]["values"], lines[-1]["values"]
    assert last["nce_ratio"] < first["nce_ratio"]
    assert lines[-1]["verdict"] == "not learning"
    assert "augmentations" in lines[-1]["reason"]


def test_a_learning_rate_100_times_too_high_is_a_failure(tmp_path):
    # Whether it ends collapsed or only lost depends on where the first steps throw it.
    assert words(train(tmp_path, lr=6.0))[-1] in ("not learning", "collapsing")


def test_a_learning_rate_of_zero_is_no_learning(tmp_path):
    assert words(train(tmp_path, lr=0.0))[-1] == "not learning"
