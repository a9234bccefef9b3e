# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A frozen network that is asked for features: its own size, channels and normalisation."""

import contextlib
import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn

from ..cpu_amp import multiplies_bfloat16
from ..evaluation.features import channels_first, pool_feature
from .errors import TeacherError

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)  # ImageNet's, of RGB in 0..255
LUMA = (0.299, 0.587, 0.114)
PICTURE = (1, 3)  # channels of pictures
SAME = 0.01  # by how much of their length two answers may differ: rounding, and none of the draws


class FrozenTeacher(nn.Module):
    """Images -> features, without gradient, always in eval mode.

    Args:
        backbone: that gives a map, tokens or a vector; see :func:`pool_feature`.
        size: side that images are resized to, in pixels.
        mean, std: of its training, in 0..255, a number a channel, in the order of its channels.
        bgr: whether it takes colours as BGR, as OpenMMLab's readers give them.
        pictures: whether it is shown pictures, which have 1 or 3 channels.

    Attributes:
        channels: of the images that it takes.
        shown: channels of the pixels that it is given: those, or 3 where it takes grey.

    Raises:
        TeacherError: a size that its patches do not divide, or channels that no picture has.
    """

    def __init__(
        self,
        backbone: nn.Module,
        size: int,
        mean: Sequence[float] = MEAN,
        std: Sequence[float] = STD,
        bgr: bool = False,
        pictures: bool = True,
    ) -> None:
        super().__init__()
        self.backbone, self.size = backbone, size
        self._whole = _nothing_masked(backbone)
        self.channels = first_channels(backbone)
        self.shown = self.channels if self.channels not in PICTURE else max(PICTURE)
        self.bgr = bgr and self.channels == 3
        if self.channels not in PICTURE and pictures:
            raise TeacherError(
                f"the teacher takes images of {self.channels} channels, and pictures have 1 or 3: "
                "take another teacher"
            )
        patch = patch_size(backbone)
        if patch and size % patch:
            low = max(size // patch * patch, patch)
            raise TeacherError(
                f"--teacher-size {size}: the teacher's patches of {patch} px do not divide it; "
                f"the nearest that they divide are {low} and {low + patch}"
            )
        for name, values in (("mean", mean), ("std", std)):
            values = torch.tensor(list(values), dtype=torch.float32)
            if len(values) == 3 and self.channels == 1:
                values = values.mean()[None]
            if len(values) not in (1, self.channels):
                raise TeacherError(
                    f"the teacher's {name} has {len(values)} numbers, and it takes images of "
                    f"{self.channels} channels"
                )
            self.register_buffer(name, values[:, None, None])
        inner = getattr(backbone, "timm_model", backbone)
        self.class_token = getattr(inner, "cls_token", None) is not None
        self.bfloat16 = False
        self.requires_grad_(False)
        self.eval()
        with contextlib.suppress(RuntimeError):  # of weights with five dimensions
            self.to(memory_format=torch.channels_last)  # as convolutions read them: same values

    def train(self, mode: bool = True) -> "FrozenTeacher":
        """Stays in eval mode, so that its normalisation layers do not move."""
        for module in self.modules():  # some backbones' own train() returns nothing
            module.training = False
        return self

    def in_bfloat16(self, device: str | torch.device) -> bool:
        """Computes in bfloat16 from now on, where the device multiplies in it; says whether.

        Features move by about a hundredth, less than two crops of an image do. They are handed
        out as float32 all the same.
        """
        known = {
            "cpu": multiplies_bfloat16,
            "cuda": lambda: torch.cuda.is_bf16_supported(including_emulation=False),
        }
        self.bfloat16 = known.get(torch.device(device).type, bool)()
        return self.bfloat16

    @torch.no_grad()
    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Images (n, 3, H, W), RGB in 0..255 -> features (n, E), float32.

        One that takes other channels than a picture's is given these instead, (n, shown, H, W).

        Raises:
            TeacherError: the network takes no such images.
        """
        return self._asked(pixels, lambda output: pool_feature(output, self.class_token))

    @torch.no_grad()
    def with_places(self, pixels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """As :meth:`forward`, and the features of its places (n, E, h, w), in one pass.

        Raises:
            TeacherError: the network takes no such images, or gives one vector an image.
        """
        with _all_tokens(self.backbone):
            output = self._asked(pixels, lambda output: output)
        places = places_of(output, prefix_tokens(self.backbone, self.class_token))
        return pool_feature(output, self.class_token), places

    def _asked(self, pixels: torch.Tensor, then: Callable[[Any], Any]) -> Any:
        """What the backbone gives for pixels, and then what is made of it."""
        images: Any = pixels.float()
        if images.shape[-2:] != (self.size, self.size):
            images = F.interpolate(
                images, (self.size, self.size), mode="bilinear", antialias=True, align_corners=False
            )
        if self.channels == 1:
            images = (images * images.new_tensor(LUMA)[:, None, None]).sum(dim=1, keepdim=True)
        elif self.bgr:
            images = images.flip(1)
        images = (images - self.mean) / self.std
        try:
            with self._autocast(images.device.type):
                return then(channels_first(self.backbone(images, **self._whole), self.backbone))
        except torch.cuda.OutOfMemoryError:
            raise
        except Exception as error:  # whatever a backbone may raise on images not made for it
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise TeacherError(
                f"the teacher takes no images of {self.size} px: {reason[:200]}. Name another "
                "--teacher-size"
            ) from error

    def _autocast(self, device: str) -> contextlib.AbstractContextManager:
        """Of its own, or that of the training which asks."""
        return torch.autocast(device, torch.bfloat16) if self.bfloat16 else contextlib.nullcontext()

    def width(self) -> int:
        """E, found by asking it twice for the features of a grey image.

        Raises:
            TeacherError: its two answers differ.
        """
        sides = (1, self.shown, self.size, self.size)
        grey = torch.full(sides, 128.0, device=self.mean.device)
        first, again = self(grey), self(grey)
        if (first - again).norm() > SAME * first.norm():
            raise TeacherError(
                "the teacher gives other features when it is asked again for the same image: it "
                "draws what it looks at, as networks of masked image modelling do. Take another"
            )
        return first.shape[1]


def as_pixels(views: torch.Tensor, preprocessor: Any, channels: Sequence[int] = ()) -> torch.Tensor:
    """Views as a student gets them -> RGB in 0..255, as :class:`FrozenTeacher` takes them.

    Args:
        views: (n, 3, H, W), normalised by the student's preprocessor; (n, C, H, W) with `channels`.
        preprocessor: the student's.
        channels: of the views, counted from 1, in the order of the pixels; of pictures, none.

    Raises:
        TeacherError: the student's views have other than 3 channels, or not those.
    """
    if channels:
        if max(channels) > views.shape[1]:
            raise TeacherError(
                f"the teacher is shown channel {max(channels)}, and the student's views have "
                f"{views.shape[1]}: its file is of other images"
            )
        places = [number - 1 for number in channels]
        views = views[:, places]
        if getattr(preprocessor, "_enable_normalize", False):
            views = views * preprocessor.std[places] + preprocessor.mean[places]
        return views
    if views.shape[1] != 3:
        raise TeacherError(
            f"the student's views have {views.shape[1]} channels, and the teacher is asked with "
            "RGB: use stored features (--teacher-views stored)"
        )
    if getattr(preprocessor, "_enable_normalize", False):
        views = views * preprocessor.std + preprocessor.mean
    return views if getattr(preprocessor, "_channel_conversion", False) else views.flip(1)


def places_of(output: Any, prefix: int) -> torch.Tensor:
    """The map of features (n, E, h, w), float32, in what a backbone gave; of a tuple, its last.

    Args:
        prefix: tokens before those of the patches.

    Raises:
        TeacherError: it has none.
    """
    while isinstance(output, tuple | list):
        output = output[-1]
    found = output.float()
    if found.ndim == 3:
        side = math.isqrt(found.shape[1] - prefix)
        if side and side * side == found.shape[1] - prefix:
            found = found[:, prefix:].transpose(1, 2).unflatten(2, (side, side))
    if found.ndim != 4:
        raise TeacherError(
            f"the teacher gives {tuple(found.shape)} and no map of features, which dense compares: "
            "take a teacher with a feature map, or dense=None"
        )
    return found


def prefix_tokens(backbone: nn.Module, class_token: bool) -> int:
    """Tokens of a vision transformer that are of no patch."""
    inner = getattr(backbone, "timm_model", backbone)
    for name in ("num_prefix_tokens", "num_extra_tokens"):  # timm's, mmpretrain's
        count = getattr(inner, name, None)
        if isinstance(count, int):
            return count
    return int(class_token)


@contextlib.contextmanager
def _all_tokens(backbone: Any) -> Iterator[None]:
    """In which mmpretrain's vision transformers give all tokens and not the class token alone."""
    if getattr(backbone, "out_type", None) != "cls_token":
        yield
        return
    backbone.out_type = "raw"
    try:
        yield
    finally:
        backbone.out_type = "cls_token"


def _nothing_masked(backbone: nn.Module) -> dict[str, None]:
    """What lets a backbone of masked image modelling, which hides places, see a whole image."""
    taken = inspect.signature(backbone.forward).parameters
    return {name: None for name in ("mask", "importance") if name in taken}  # the hosts' two names


def first_channels(backbone: nn.Module) -> int:
    """Channels of the images that a backbone takes, by its first convolution; 3 without one."""
    for module in backbone.modules():
        if isinstance(module, nn.Conv2d):
            return module.in_channels
    return 3


def patch_size(backbone: nn.Module) -> int | None:
    """Side of a vision transformer's patches, in pixels; None for other networks."""
    inner = getattr(backbone, "timm_model", backbone)
    embed = getattr(inner, "patch_embed", None)
    for name in ("projection", "proj"):
        layer = getattr(embed, name, None)
        if isinstance(layer, nn.Conv2d) and layer.kernel_size == layer.stride:
            return layer.stride[0]
    return None
