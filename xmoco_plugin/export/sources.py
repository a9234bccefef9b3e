# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where the backbone is in a checkpoint: ours, mmpretrain's, FAIR's, torchvision's, timm's."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..checkpoint import CheckpointError, read_checkpoint, state_dict_of
from .names import family, rename_vit, vit_library

# Layout: prefixes of the query's backbone, prefixes of the key's.
LAYOUTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "mmpretrain": (
        ("backbone.",),
        ("encoder_k.module.0.", "momentum_encoder.module.0.", "target_net.module.0."),
    ),
    "moco": (("encoder_q.",), ("encoder_k.",)),
    "moco-v3": (("base_encoder.",), ("momentum_encoder.",)),
    "bare": (("",), ()),
}
SOURCES = ("auto", *LAYOUTS, "torchvision", "timm")
HEADS = ("fc.", "head.", "heads.")  # what these libraries call a backbone's classifier
DETECTOR_PARTS = {
    *("rpn", "rpn_head", "roi_head", "roi_heads", "bbox_head", "mask_head", "keypoint_head"),
    *("decode_head", "auxiliary_head", "panoptic_head", "panoptic_fusion_head", "query_head"),
    *("sem_seg_head", "proposal_generator", "dn_query_generator"),
}


class Backbone(NamedTuple):
    """A backbone that was found in a checkpoint.

    Attributes:
        state: Weights in mmpretrain's names, without prefix.
        layout: Key of :data:`LAYOUTS`.
        prefix: What stood before its keys.
        family: 'resnet', 'vit' or an empty text.
        left_out: Keys of the checkpoint that are not in ``state``.
    """

    state: dict[str, Any]
    layout: str
    prefix: str
    family: str
    left_out: list[str]


def read_weights(path: str | Path) -> dict:
    """Read a torch file or a safetensors file without running code it may carry.

    Raises:
        CheckpointError: As :func:`read_checkpoint`; or the file is not what its name says.
    """
    return read_checkpoint(path)


def refuse_detector(state: Mapping[str, Any]) -> None:
    """Refuse weights of a detector or a segmentor.

    Raises:
        CheckpointError: Its backbone has been fine-tuned; the message names its parts.
    """
    found = sorted({key.split(".")[0] for key in state} & DETECTOR_PARTS)
    if found:
        raise CheckpointError(
            f"These are the weights of a detector or segmentor (it has {', '.join(found)}): its "
            "backbone has been trained further. Name the checkpoint of the pretraining."
        )


def find_backbone(
    checkpoint: Mapping[str, Any], layout: str = "auto", encoder: str = "query"
) -> Backbone:
    """Find the backbone in a checkpoint and give it mmpretrain's names.

    Args:
        checkpoint: As from :func:`read_weights`; with a 'state_dict' entry, or weights by key.
        layout: One of :data:`SOURCES`; 'torchvision' and 'timm' are other words for 'bare'.
            Defaults to 'auto'.
        encoder: 'query', or 'key' for the momentum encoder.

    Raises:
        CheckpointError: No backbone is there, or it is a detector's, incomplete in its names, or
            of a family whose names are not known.
    """
    state = state_dict_of(checkpoint)
    refuse_detector(state)
    wanted = "bare" if layout in ("torchvision", "timm") else layout
    tried = list(LAYOUTS) if wanted == "auto" else [wanted]
    for name in tried:
        for prefix in LAYOUTS[name][encoder == "key"]:
            found = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
            # Without a prefix, everything would be a backbone.
            if found and (prefix or family(found)):
                return _named(found, state, name, prefix)
    firsts = sorted({key.split(".")[0] for key in state})
    others = f" and {len(firsts) - 8} more" if len(firsts) > 8 else ""
    raise CheckpointError(
        f"No {encoder} backbone is in this file under the layouts {', '.join(tried)}: its keys "
        f"begin with {', '.join(firsts[:8]) or 'nothing'}{others}."
    )


def _named(found: dict, state: Mapping[str, Any], layout: str, prefix: str) -> Backbone:
    kind = family(found)
    if not kind and layout != "mmpretrain":
        raise CheckpointError(
            f"The backbone under {prefix!r} is neither a ResNet nor a ViT that is known here: its "
            f"keys begin {', '.join(list(found)[:3])}."
        )
    used: dict[str, Any] = {}
    for key, value in found.items():
        name: str | None = key
        if layout != "mmpretrain" and key.startswith(HEADS):
            continue
        if kind == "vit" and vit_library(found) != "mmpretrain":
            name = rename_vit(key, vit_library(found), "mmpretrain")
        if name is None:
            raise CheckpointError(
                f"{prefix}{key} is of no layer that mmpretrain's VisionTransformer has."
            )
        used[name] = value
    heads = {prefix + k for k in found if layout != "mmpretrain" and k.startswith(HEADS)}
    left_out = [k for k in state if not k.startswith(prefix) or k in heads]
    return Backbone(used, layout, prefix, kind, left_out)
