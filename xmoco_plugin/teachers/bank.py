# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch

from ..precision import at_least_float32


class KeyBank:
    """The teacher's key of every image of a set; they never age.

    Args:
        keys: (n, D), unit norm, by the images' places in the set; may be half precision.
    """

    def __init__(self, keys: torch.Tensor) -> None:
        self.keys = keys

    def __len__(self) -> int:
        return len(self.keys)

    def own(self, places: torch.Tensor, device: torch.device) -> torch.Tensor:
        """Keys (N, D) of images by their places, at least float32, on the device.

        Raises:
            ValueError: a place outside of the set.
        """
        if len(places) and not 0 <= int(places.min()) <= int(places.max()) < len(self):
            raise ValueError(
                f"an image has the place {int(places.max()):,}, but the teacher's features are of "
                f"{len(self):,} images: they belong to another set"
            )
        return self._on(self.keys[places.to(self.keys.device)], device)

    def draw(self, count: int, seed: int, device: torch.device) -> torch.Tensor:
        """Random keys as columns (D, count), at least float32; all of them where there are no more.

        The same seed draws the same images on every process and machine.
        """
        if count >= len(self):
            return self._on(self.keys, device).T
        generator = torch.Generator().manual_seed(seed)
        places = torch.randint(len(self), (count,), generator=generator)
        return self._on(self.keys[places.to(self.keys.device)], device).T

    @staticmethod
    def _on(keys: torch.Tensor, device: torch.device) -> torch.Tensor:
        return at_least_float32(keys.to(device, non_blocking=True))
