# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The picture shows what the encoder got, and the training is as without it."""

import copy

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.hooks import FirstBatchHook

from .. import models, tiny_runner
from ..multiprocess import run_processes

MEAN, STD = [120.0, 110.0, 100.0], [50.0, 60.0, 70.0]
DEVICE_VIEWS = dict(
    type="TwoViewDataPreprocessor",
    mean=MEAN,
    std=STD,
    to_rgb=True,
    views=dict(size=8),
)
WORKER_VIEWS = dict(type="SelfSupDataPreprocessor", mean=MEAN, std=STD, to_rgb=True)
SETTINGS = pytest.mark.parametrize(
    ("preprocessor", "views"),
    [(DEVICE_VIEWS, False), (WORKER_VIEWS, True)],
    ids=["device", "worker"],
)


class Encoded(Hook):
    """Keeps the first views that the step hands to the model, and the batch before the step."""

    def before_train(self, runner):
        self.views, self.batch = None, None
        forward = runner.model.data_preprocessor.forward
        self.calls = []

        def keep(*args, **kwargs):
            out = forward(*args, **kwargs)
            self.calls.append([view.clone() for view in out["inputs"]])
            return out

        runner.model.data_preprocessor.forward = keep

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        if self.views is None:
            self.views, self.batch = self.calls[-1], copy.deepcopy(data_batch)


def train(folder, preprocessor, views, picture=True, epochs=1, num_images=16, **options):
    hooks = [dict(type="FirstBatchHook", num_images=num_images)] if picture else []
    runner = tiny_runner.build(
        folder,
        hooks,
        model=models.config(data_preprocessor=preprocessor),
        train_dataloader=tiny_runner.loader(views=views, drop_last=True, labelled=False),
        train_cfg=dict(by_epoch=True, max_epochs=epochs),
        **options,
    )
    runner.register_hook(encoded := Encoded())
    runner.train()
    return encoded


@SETTINGS
def test_the_picture_shows_the_views_that_the_first_step_encodes(tmp_path, preprocessor, views):
    encoded = train(tmp_path, preprocessor, views)
    picture = np.asarray(Image.open(tmp_path / "first_batch.png"))
    # 4 images of 8 x 16 pixels in one column, 2 pixels of white around each.
    scale = torch.tensor(STD).view(3, 1, 1), torch.tensor(MEAN).view(3, 1, 1)
    columns = (picture.shape[1] - 2) // 18
    for i in range(4):
        top, left = 2 + 10 * (i // columns), 2 + 18 * (i % columns)
        for j, view in enumerate(encoded.views):
            shown = picture[top : top + 8, left + 8 * j : left + 8 * j + 8]
            exact = (view[i] * scale[0] + scale[1]).clamp(0, 255).permute(1, 2, 0).numpy()
            assert np.abs(shown - exact).max() <= 0.51


@SETTINGS
def test_training_is_the_same_bit_for_bit_with_and_without_it(tmp_path, preprocessor, views):
    with_it, without = tmp_path / "with", tmp_path / "without"
    batches = [
        train(folder, preprocessor, views, picture=folder == with_it, epochs=2).batch
        for folder in (with_it, without)
    ]
    pixels = [
        torch.stack(list(batch["inputs"]) if views else [torch.as_tensor(batch["inputs"])])
        for batch in batches
    ]
    assert torch.equal(*pixels)
    ours, theirs = (
        read_checkpoint(folder / "epoch_2.pth")["state_dict"] for folder in (with_it, without)
    )
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())


def test_no_more_images_are_shown_than_asked_for(tmp_path):
    train(tmp_path, WORKER_VIEWS, True, num_images=1)
    assert Image.open(tmp_path / "first_batch.png").size == (16, 8)


def test_a_resumed_run_keeps_the_picture_or_makes_up_for_it(tmp_path):
    train(tmp_path, WORKER_VIEWS, True)
    picture = tmp_path / "first_batch.png"
    content = picture.read_bytes()
    train(tmp_path, WORKER_VIEWS, True, epochs=2, resume=True)
    assert picture.read_bytes() == content
    picture.unlink()
    train(tmp_path, WORKER_VIEWS, True, epochs=3, resume=True)
    assert picture.exists()


def test_an_algorithm_with_one_view_gets_a_picture_of_one(tmp_path):
    classifier = dict(
        type="ImageClassifier",
        data_preprocessor=dict(mean=MEAN, std=STD),
        backbone=dict(type="TinyEncoder"),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=4, in_channels=16),
    )
    loader = tiny_runner.loader(views=False)
    hook = dict(type="FirstBatchHook", num_images=1)
    loop = dict(by_epoch=True, max_epochs=1)
    tiny_runner.build(
        tmp_path, [hook], model=classifier, train_dataloader=loader, train_cfg=loop
    ).train()
    assert Image.open(tmp_path / "first_batch.png").size == (8, 8)


def train_distributed(rank, size, folder):
    """A run on two processes; whether this rank looked at its batch."""
    drawn = []
    draw = FirstBatchHook.before_train_iter

    def watched(self, runner, batch_idx, data_batch=None):
        drawn.append(self._due)
        draw(self, runner, batch_idx, data_batch)

    FirstBatchHook.before_train_iter = watched
    wrapper = dict(type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None)
    tiny_runner.build(
        folder, [dict(type="FirstBatchHook")], launcher="pytorch", model_wrapper_cfg=wrapper
    ).train()
    return sum(drawn)


def test_of_two_processes_the_first_alone_draws(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert run_processes(train_distributed, 2, str(tmp_path)) == [1, 0]
    assert (tmp_path / "first_batch.png").exists()


def test_no_images_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        FirstBatchHook(num_images=0)
