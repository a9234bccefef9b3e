# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A real Runner on a few small generated images: seconds of training, nothing to read from disk."""

import numpy as np
from mmengine.config import Config
from mmengine.dataset import BaseDataset
from mmengine.runner import Runner
from mmpretrain.registry import DATASETS

from . import models


@DATASETS.register_module(force=True)
class TinyImages(BaseDataset):
    """Coloured noise, 8 px, one hue a class; image i is of class i mod num_classes."""

    def __init__(self, size: int = 16, num_classes: int = 4, labelled: bool = True, **kwargs):
        self.size, self.num_classes, self.labelled = size, num_classes, labelled
        classes = tuple(f"c{i}" for i in range(num_classes)) if labelled else None
        super().__init__(metainfo=dict(classes=classes) if classes else None, **kwargs)

    def load_data_list(self) -> list[dict]:
        rng = np.random.default_rng(0)
        hues = rng.integers(40, 216, (self.num_classes, 3))
        infos = []
        for i in range(self.size):
            noise = rng.integers(-30, 31, (8, 8, 3))
            image = np.clip(hues[i % self.num_classes] + noise, 0, 255).astype(np.uint8)
            info = dict(img=image, img_shape=(8, 8), sample_idx=i)
            infos.append(info | (dict(gt_label=i % self.num_classes) if self.labelled else {}))
        return infos


class QuietRunner(Runner):
    """Says nothing of the machine, which takes longer to find out than these runs take."""

    def _log_env(self, env_cfg: dict) -> None:
        pass


def loader(
    batch_size: int = 4,
    views: bool = True,
    shuffle: bool = True,
    infinite: bool = False,
    drop_last: bool | None = None,
    **dataset,
) -> dict:
    """Config of a loader over TinyImages; two flipped and jittered views, or one plain one."""
    augment = [
        dict(type="RandomFlip", prob=0.5),
        dict(type="ColorJitter", brightness=0.2, backend="cv2"),
    ]
    pipeline = [dict(type="PackInputs")]
    if views:
        pipeline = [dict(type="MultiView", num_views=2, transforms=[augment]), *pipeline]
    return dict(
        batch_size=batch_size,
        num_workers=0,
        drop_last=views if drop_last is None else drop_last,
        sampler=dict(type="InfiniteSampler" if infinite else "DefaultSampler", shuffle=shuffle),
        collate_fn=dict(type="default_collate"),
        dataset=dict(type="TinyImages", pipeline=pipeline) | dataset,
    )


def build(work_dir, hooks: list | None = None, validate: bool = False, **overrides) -> Runner:
    """A runner: XMoCo, 16 images, batches of 4, 2 epochs, a checkpoint an epoch."""
    return QuietRunner.from_cfg(config(work_dir, hooks, validate, **overrides))


def config(work_dir, hooks: list | None = None, validate: bool = False, **overrides) -> Config:
    """The config of :func:`build`."""
    settings = dict(
        default_scope="mmpretrain",
        work_dir=str(work_dir),
        experiment_name=f"tiny-{next(_number)}",
        model=models.config(
            data_preprocessor=dict(type="SelfSupDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3)
        ),
        train_dataloader=loader(),
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=2, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9)),
        default_hooks=dict(
            logger=dict(type="LoggerHook", interval=2),
            checkpoint=dict(type="CheckpointHook", interval=1),
        ),
        custom_hooks=hooks or [],
        randomness=dict(seed=0),
        log_level="INFO",
    )
    if validate:
        settings |= dict(
            val_dataloader=loader(views=False, shuffle=False, test_mode=True),
            val_cfg=dict(
                type="KNNValLoop", bank_dataloader=loader(views=False, shuffle=False), k=3
            ),
            val_evaluator=dict(type="Accuracy", topk=(1,)),
        )
    # The host would format its text for the log, the file and each checkpoint: most of the time.
    return Config(settings | overrides, format_python_code=False)


_number = iter(range(10**9))
