# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from mmengine.dataset import default_collate
from mmengine.device import get_device
from mmengine.registry import FUNCTIONS
from mmpretrain.registry import DATASETS
from torch.utils.data import get_worker_info

from .npz_images import NpzImages


@DATASETS.register_module()
class ResidentImages(NpzImages):
    """``NpzImages`` whose images all lie on the device: of a batch only the indices travel.

    For small sets and views made on the device (``TwoViewDataPreprocessor``): no worker, no
    pipeline and no collating between the sampler and the views. The loader is the ordinary one with
    ``num_workers=0``, ``pin_memory=False`` (what is on the device cannot be pinned) and
    ``collate_fn=dict(type='resident_collate')``, so samplers, seeds, epochs,
    sharding and resuming are its own; batches hold the pixels that ``NpzImages`` with
    ``PackInputs`` gives. Without labels: ``data_samples`` are left out. A single image comes
    through the pipeline, as ``NpzImages`` has it.

    Args:
        device (str | None): Where the images lie, put there with the first batch: CIFAR-10's 50,000
            take 154 MB. Defaults to None: mmengine's device of this process.
        kwargs: Of ``NpzImages``.

    Raises:
        ValueError: In a worker process, which should not touch the device.
    """

    def __init__(self, *args, device: str | None = None, **kwargs) -> None:
        self.device = device
        self._stack: torch.Tensor | None = None
        super().__init__(*args, **kwargs)

    @property
    def place(self) -> torch.device:
        """Where the images lie, or will."""
        return torch.device(self.device or get_device())

    @property
    def stack(self) -> torch.Tensor:
        """All images, (N, H, W, 3) uint8 BGR, on the device."""
        if self._stack is None:
            self.full_init()
            entries = (super(NpzImages, self).get_data_info(i) for i in range(len(self)))
            images = self._images[[entry["row"] for entry in entries]]
            bgr = torch.from_numpy(np.ascontiguousarray(images[..., ::-1]))
            self._stack = bgr.to(self.place)
        return self._stack

    def __getitems__(self, indices: Sequence[int]) -> dict[str, torch.Tensor]:
        """What torch's loader asks for: a batch, ``inputs`` (n, 3, H, W) uint8 on the device."""
        if get_worker_info() is not None:
            raise ValueError(
                "ResidentImages has its images on the device, which a worker process should not "
                "touch: set num_workers=0 and persistent_workers=False for its loader"
            )
        stack = self.stack
        rows = torch.tensor(indices, pin_memory=stack.is_cuda).to(stack.device, non_blocking=True)
        return dict(inputs=stack.index_select(0, rows).permute(0, 3, 1, 2))


@FUNCTIONS.register_module()
def resident_collate(batch: Any) -> Any:
    """A batch of ``ResidentImages`` as it is; single samples as the host's ``default_collate``."""
    return batch if isinstance(batch, dict) else default_collate(batch)
