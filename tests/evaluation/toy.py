# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A drawn set whose classes are colours, and a real Runner that judges a tiny MoCo on it."""

import torch
from mmpretrain.registry import DATASETS
from mmpretrain.structures import DataSample
from torch.utils.data import Dataset

from ..models import config
from ..tiny_runner import QuietRunner

CLASSES = 6


@DATASETS.register_module(force=True)
class ToyColours(Dataset):
    """Image i: noise around the colour of class i % 6, uint8 (3, 8, 8); equal for equal seeds."""

    def __init__(
        self,
        size: int,
        seed: int,
        views: int = 1,
        labelled: bool = True,
        noise: float = 60,
    ) -> None:
        generator = torch.Generator().manual_seed(seed)
        low, high = 60, 200
        colours = torch.tensor(
            [
                [high, low, low],
                [low, high, low],
                [low, low, high],
                [high, high, low],
                [low, high, high],
                [high, low, high],
            ]
        )
        self.labels = torch.arange(size) % CLASSES
        drawn = noise * torch.randn(size, 3, 8, 8, generator=generator)
        self.images = (colours[self.labels][:, :, None, None] + drawn).clamp(0, 255).byte()
        self.views, self.labelled = views, labelled
        self.metainfo = {"classes": tuple("abcdef")}

    def __len__(self) -> int:
        return len(self.images)

    def __getitem__(self, index: int) -> dict:
        sample = DataSample(metainfo={"img_path": f"toy/{index}.png"})
        if self.labelled:
            sample.set_gt_label(int(self.labels[index]))
        image = self.images[index]
        inputs = image if self.views == 1 else [image] * self.views
        return {"inputs": inputs, "data_samples": sample}


def loader(size: int, seed: int, batch: int = 32, **options) -> dict:
    """Config of a loader of `ToyColours`."""
    return {
        "batch_size": batch,
        "num_workers": 0,
        "dataset": {"type": "mmpretrain.ToyColours", "size": size, "seed": seed} | options,
        "sampler": {"type": "DefaultSampler", "shuffle": False},
        "collate_fn": {"type": "default_collate"},
    }


def runner_config(work_dir, stage: str = "val", queries: dict | None = None, **loop) -> dict:
    """Keywords for a Runner with a kNN loop: 60 bank images, 50 queries."""
    kind = {"val": "KNNValLoop", "test": "KNNTestLoop"}[stage]
    return {
        "model": config(
            "MoCo", norm=True, data_preprocessor={"mean": [128.0] * 3, "std": [64.0] * 3}
        ),
        "work_dir": str(work_dir),
        f"{stage}_dataloader": queries or loader(50, seed=2),
        f"{stage}_evaluator": {"type": "Accuracy", "topk": (1, 3)},
        f"{stage}_cfg": {"type": kind, "bank_dataloader": loader(60, seed=1), "k": 5} | loop,
        "default_scope": "mmpretrain",
        "randomness": {"seed": 0},
        "log_level": "WARNING",
        "experiment_name": f"{stage}-{abs(hash(str(work_dir)))}",
    }


def build_runner(work_dir, stage: str = "val", **loop) -> QuietRunner:
    """The Runner of `runner_config`."""
    return QuietRunner(**runner_config(work_dir, stage, **loop))
