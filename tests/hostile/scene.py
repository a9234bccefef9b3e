# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where a command is run: good files of every kind, of which one becomes hostile."""

import shutil
from pathlib import Path

from ..transfer import drawn, small
from . import good

TINY = """
default_scope = 'mmpretrain'
custom_imports = dict(imports=['xmoco_plugin'])
{model}
model['type'] = 'XMoCo'
model['head'] = dict(type='XMoCoHead', temperature=0.2, consistency=dict(), uniformity=dict())
model['backbone']['init_cfg'] = {init}
load = [dict(type='LoadImageOrSkip')]
views = [[dict(type='RandomResizedCrop', scale=32), dict(type='RandomFlip', prob=0.5)]]
pack = [dict(type='PackInputs', meta_keys=('img_path', 'skipped'))]
train_dataloader = dict(
    batch_size=4, num_workers=0, drop_last=True,
    sampler=dict(type='DefaultSampler', shuffle=True),
    dataset=dict(type='UnlabeledFolder', data_root={images!r}, pipeline=[
        *load, dict(type='MultiView', num_views=2, transforms=views), *pack]))
train_cfg = dict(by_epoch=True, max_epochs=1)
optim_wrapper = dict(optimizer=dict(type='SGD', lr=0.02))
custom_hooks = [dict(type='SkippedImagesHook')]
work_dir = {work!r}
randomness = dict(seed=0)
"""
KNN = """
crop = [dict(type='LoadImageOrSkip', on_error='raise'), dict(type='ResizeEdge', scale=32),
        dict(type='CenterCrop', crop_size=32), dict(type='PackInputs')]
def labelled(split):
    folder = {labelled!r} + '/' + split
    return dict(batch_size=4, num_workers=0, sampler=dict(type='DefaultSampler', shuffle=False),
                dataset=dict(type='CustomDataset', data_root=folder, pipeline=crop))
val_dataloader = labelled('val')
val_cfg = dict(type='KNNValLoop', k=1, bank_dataloader=labelled('train'))
val_evaluator = dict(type='Accuracy')
"""


class Scene:
    """A folder with good files.

    Args:
        here: The folder, empty.
        done: A run of pretrain.py that is done, to be copied.
    """

    def __init__(self, here: Path, done: Path) -> None:
        self.here, self.done = here, done
        self.images = good.folder(here / "images")
        self.weights = good.checkpoint(here / "good.pth")

    @property
    def labelled(self) -> Path:
        return self.here / "labelled"

    @property
    def shapes(self) -> Path:
        return self.here / "shapes"

    @property
    def pack(self) -> Path:
        return self.here / "pack"

    @property
    def run(self) -> Path:
        return self.here / "run"

    @property
    def run_without_weights(self) -> Path:
        for file in self.run.glob("*.pth"):
            file.unlink()
        return self.run

    @property
    def exported(self) -> Path:
        return self.here / "export" / "backbone.pth"

    @property
    def config(self) -> Path:
        return tiny_config(self)

    @property
    def knn_config(self) -> Path:
        if not self.labelled.exists():
            good.labelled(self.labelled)
        file = tiny_config(self)
        file.write_text(file.read_text() + KNN.format(labelled=str(self.labelled)))
        return file

    def furnish(self, place: str) -> None:
        """Puts what a hostile file at ``place`` needs around it."""
        top = place.split("/")[0]
        if top == "labelled":
            good.labelled(self.labelled)
            if place.endswith(".npz"):
                shutil.rmtree(self.labelled)
                self.labelled.mkdir()
                arrays(self.labelled)
        elif top == "shapes":
            drawn.draw(self.shapes, train=3, val=2)
        elif top == "pack":
            shutil.copytree(good.pack(), self.pack)
        elif top == "run":
            shutil.copytree(self.done, self.run)
        elif top in ("cifar-10-batches-py", "work"):
            (self.here / top).mkdir()
        elif top == "export":
            self.exported.parent.mkdir()
            exported(self.exported)

    def pointing_at(self, file: Path) -> Path:
        """A work dir whose last_checkpoint names the file."""
        (file.parent / "last_checkpoint").write_text(str(file))
        return file.parent

    def fine_tuning(self, task: str) -> Path:
        """A config of ours, and the data that it is given."""
        if not self.shapes.exists():
            drawn.draw(self.shapes, train=3, val=2)
        config = Path(small.DETECTOR if task == "det" else small.SEGMENTOR)
        file = self.here / config.name
        file.write_text(good.whole_config(small.ROOT / config))
        return file


def tiny_config(scene: Scene, init: str = "None") -> Path:
    """A config that trains the small network on the scene's images for an epoch."""
    file = scene.here / "tiny.py"
    file.write_text(
        TINY.format(
            model=good.model_text(),
            images=str(scene.images),
            work=str(scene.here / "tiny"),
            init=init,
        )
    )
    return file


def arrays(folder: Path) -> None:
    """train.npz and test.npz, as NpzImages reads them."""
    import numpy as np

    rng = np.random.default_rng(0)
    for split, count in (("train", 8), ("test", 4)):
        np.savez(
            folder / f"{split}.npz",
            images=rng.integers(0, 255, (count, 32, 32, 3), dtype=np.uint8),
            labels=np.arange(count) % 2,
        )


def exported(file: Path) -> None:
    """Weights without a config, as an export has them."""
    import torch

    torch.save({"state_dict": good.weights(), "meta": {"exported_by": "xmoco_plugin"}}, file)
