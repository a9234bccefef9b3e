# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The ready fine-tuning configs, by the backbones that they are made for."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from .families import SIZES


class Ready(NamedTuple):
    """A backbone with fine-tuning configs of its own.

    Attributes:
        kind: Its class, with a scope where it is not mmpretrain's.
        settings: Those that tell it from others of the class, each with the values that are meant;
            None where the class has the value by itself.
        detector: Name of mmdet's config in configs/detection; None where there is none.
        segmentor: Name of mmseg's in configs/segmentation.
    """

    kind: str
    settings: Mapping[str, tuple[Any, ...]]
    detector: str | None
    segmentor: str | None = None


def _sized(kind: str, size: str) -> tuple[str, dict[str, tuple[Any, ...]]]:
    return kind, {key: (value,) for key, value in SIZES[kind][size].items()}


_TINY = {"arch": ("tiny", "t", None)}
READY = (
    Ready(*_sized("mmdet.CSPNeXt", "tiny"), "rtmdet_tiny_small"),
    Ready(*_sized("mmdet.CSPNeXt", "s"), "rtmdet_s_small"),
    Ready(*_sized("mmdet.CSPNeXt", "m"), "rtmdet_m_small"),
    Ready(*_sized("mmdet.CSPDarknet", "tiny"), "yolox_tiny_small"),
    Ready(*_sized("mmdet.CSPDarknet", "s"), "yolox_s_small"),
    Ready("SwinTransformer", _TINY, "faster-rcnn_swin-t-fpn_small", "upernet_swin-t_small"),
    Ready("ConvNeXt", _TINY, "faster-rcnn_convnext-t-fpn_small", "upernet_convnext-t_small"),
    Ready(
        "MobileNetV2",
        {"widen_factor": (1.0, None)},
        "faster-rcnn_mobilenet-v2-fpn_small",
        "fcn_mobilenet-v2_small",
    ),
    Ready("EfficientNet", {"arch": ("b0", None)}, "faster-rcnn_efficientnet-b0-fpn_small"),
    Ready(
        "MoCoV3ViT",
        {"arch": ("mocov3-small", "mocov3-s")},
        "faster-rcnn_vit-s_small",
        "upernet_vit-s_small",
    ),
    Ready(*_sized("mmseg.MixVisionTransformer", "b0"), None, "segformer_mit-b0_small"),
)


def ready_configs(backbone: Mapping[str, Any]) -> dict[str, str]:
    """The fine-tuning configs that are made for a backbone: by 'mmdet' and 'mmseg', mostly none.

    Args:
        backbone: Its config in a pretraining.

    Returns:
        Their names below configs/.
    """
    for row in READY:
        if backbone["type"] == row.kind and all(
            backbone.get(key) in values for key, values in row.settings.items()
        ):
            named = {"mmdet": ("detection", row.detector), "mmseg": ("segmentation", row.segmentor)}
            return {host: f"{folder}/{name}.py" for host, (folder, name) in named.items() if name}
    return {}
