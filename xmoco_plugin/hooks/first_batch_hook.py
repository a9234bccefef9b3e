# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import copy
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn
from torchvision.utils import save_image

from ..checkpoint import write_atomic
from ..distributed import unwrapped
from ..log_detail import DETAIL
from ..visualization import kept_randomness
from .spared import Spared

FILE = "first_batch.png"


@HOOKS.register_module()
class FirstBatchHook(Hook):
    """Writes a picture of the first batch as the encoder gets it: ``first_batch.png``.

    The two views of an image stand side by side, without their normalization. The batch goes
    through the model's data preprocessor once more, with the random numbers that the training step
    will draw, so that views which are made on the device are those of the step. The step itself is
    not changed by it. Channels are taken as red, green, blue, which is what other libraries' models
    expect: wrong colours here mean that ``to_rgb`` is not set. Of more than three the first three
    are shown.

    A resumed run keeps the picture that is there. Rank 0's share of the batch is shown.

    Args:
        num_images: of the batch, at most. Default 16 (ours).
    """

    # Last before the step, so that no other hook draws random numbers in between.
    priority = "LOWEST"

    def __init__(self, num_images: int = 16) -> None:
        if num_images < 1:
            raise ValueError(f"num_images must be at least 1, got {num_images}")
        self.num_images = num_images
        self._due = False

    def before_train(self, runner: Runner) -> None:
        drawn = runner.iter > 0 and (Path(runner.work_dir) / FILE).exists()
        self._due = is_main_process() and not drawn

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None) -> None:
        if not self._due:
            return
        self._due = False
        preprocessor = unwrapped(runner.model).data_preprocessor
        with kept_randomness(), torch.no_grad():
            batch = copy.copy(data_batch)  # of the same class: a prepared batch passes through
            inputs = preprocessor(batch, training=True)["inputs"]
        views = list(inputs[:2]) if isinstance(inputs, list | tuple) else [inputs]
        if any(not torch.is_tensor(v) or v.dim() != 4 or v.shape[1] in (0, 2) for v in views):
            runner.logger.info(f"{FILE} is left out: the model gets no pictures of 1 or 3 channels")
            return
        pictures = [_pixels(view[: self.num_images], preprocessor)[:, :3] for view in views]
        size = pictures[0].shape[-2:]
        rows = torch.cat([F.interpolate(p, size, mode="nearest") for p in pictures], dim=-1)
        path = Path(runner.work_dir) / FILE
        # Twice as wide as high, four of them in two rows make a square.
        columns = max(1, round((len(rows) / 2) ** 0.5))
        with Spared()(runner, FILE):
            write_atomic(
                rows, path, lambda r, f: save_image(r, f, "png", nrow=columns, pad_value=1.0)
            )
            runner.logger.info(
                f"{path}: {len(rows)} images of the first batch as the encoder gets them",
                extra=DETAIL,
            )


def _pixels(view: torch.Tensor, preprocessor: nn.Module) -> torch.Tensor:
    """(N, C, H, W) on the CPU, in [0, 1], from a normalized view of images in [0, 255]."""
    if getattr(preprocessor, "_enable_normalize", False):
        view = view * preprocessor.std + preprocessor.mean
    return (view.float() / 255).clamp(0, 1).cpu()
