# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Files of detectors and segmentors: by what they are known, their averages, what they see."""

from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple

from ..checkpoint import CheckpointError, Shape
from ..untrusted import printable, read_settings
from .places import first_parts, weights_in, without_wrappers
from .record import meta_of

PARTS = {
    *("rpn", "rpn_head", "roi_head", "roi_heads", "bbox_head", "mask_head", "keypoint_head"),
    *("decode_head", "auxiliary_head", "panoptic_head", "panoptic_fusion_head", "query_head"),
    *("sem_seg_head", "proposal_generator", "dn_query_generator"),
}
EMA = "ema_state_dict"  # mmengine's hook writes it: what was trained, beside its average
SHOWN = 6  # parts that a sentence names
# Settings of the hosts' preprocessors that turn the BGR of their readers into RGB.
TO_RGB = ("to_rgb", "bgr_to_rgb", "rgb_to_bgr")


class Inputs(NamedTuple):
    """What a network gets of an image whose values are 0 to 255.

    Attributes:
        mean, std: In the order of its channels.
        channels: 'RGB' or 'BGR'.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]
    channels: str

    def __str__(self) -> str:
        mean, std = (" ".join(f"{v:g}" for v in values) for values in (self.mean, self.std))
        return f"{self.channels}, mean {mean}, std {std}"

    def is_like(self, other: "Inputs") -> bool:
        """Whether two are the same, but for what figures are rounded to."""
        pairs = zip((*self.mean, *self.std), (*other.mean, *other.std), strict=True)
        return self.channels == other.channels and all(abs(a - b) < 0.01 for a, b in pairs)

    @property
    def as_preprocessor(self) -> dict[str, Any]:
        """The settings of mmengine's image preprocessors."""
        return dict(mean=list(self.mean), std=list(self.std), bgr_to_rgb=self.channels == "RGB")


def parts_of(state: Mapping[str, Any]) -> list[str]:
    """The parts of a state that only detectors and segmentors have."""
    found = {key.split(".")[0] for key in state} & PARTS
    # torchvision's RetinaNet and FCOS; a classifier's may be called head too.
    if any(key.startswith("head.classification_head.") for key in state):
        found.add("head")
    return sorted(found)


def refuse_detector(state: Mapping[str, Any]) -> None:
    """Refuse weights of a detector or a segmentor.

    Raises:
        CheckpointError: Its backbone has been fine-tuned; the message names its parts.
    """
    if found := parts_of(state):
        raise CheckpointError(
            f"These are the weights of a detector or segmentor (it has {', '.join(found)}): its "
            "backbone has been trained further. Name the checkpoint of the pretraining."
        )


def counted(keys: Iterable[str]) -> str:
    """Keys by what they begin with: 'bbox_head 40 tensors, neck 36 tensors'; 'nothing' for none."""
    counts: dict[str, int] = {}
    for key in keys:
        first = key.split(".")[0]
        # mmdet 2 kept averages beside the weights, with _ for each point.
        first = "ema_*" if first.startswith("ema_") and "." not in key else first
        counts[first] = counts.get(first, 0) + 1
    most = sorted(counts, key=lambda name: -counts[name])
    told = {printable(name): counts[name] for name in sorted(most[:SHOWN])}
    if rest := sum(counts[name] for name in most[SHOWN:]):
        told["others"] = rest
    return ", ".join(f"{n} {c:,} tensor{'s' * (c > 1)}" for n, c in told.items()) or "nothing"


def check_average(checkpoint: Mapping[str, Any]) -> None:
    """Refuse a file whose average is of another network than its weights.

    Raises:
        CheckpointError: With the first tensor at fault and both shapes.
    """
    if not isinstance(checkpoint.get(EMA), Mapping) or "state_dict" not in checkpoint:
        return
    ours = weights_in(checkpoint).state
    unlike: list[tuple[str, Shape, Shape]] = []
    for key, value in checkpoint[EMA].items():
        name = without_wrappers(str(key))
        if name in ours and getattr(value, "shape", None) != ours[name].shape:
            unlike.append((name, tuple(getattr(value, "shape", ())), tuple(ours[name].shape)))
    if unlike:
        name, theirs, mine = unlike[0]
        raise CheckpointError(
            f"its {EMA} is of another network than its state_dict ({len(unlike):,} tensors; "
            f"{printable(name)} is {theirs} and {mine}), so that nobody can tell which is meant: "
            f"save a file without {EMA}, and name that one."
        )


def settings_of(checkpoint: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that a file was trained with, as data; mmdet 2 and mmseg 0 call them config."""
    meta = meta_of(checkpoint)
    return read_settings(meta.get("cfg") or meta.get("config"))


def inputs_of(checkpoint: Mapping[str, Any]) -> Inputs | None:
    """What the network of a file gets of an image, as its settings say; None where they do not."""
    return inputs_from(settings_of(checkpoint))


def inputs_from(settings: Mapping[str, Any]) -> Inputs | None:
    """The same of a config, or of settings that are data."""
    model = settings.get("model")
    within = model.get("data_preprocessor") if isinstance(model, dict) else None
    found = within or settings.get("data_preprocessor") or settings.get("img_norm_cfg")
    if not isinstance(found, dict):
        return None
    values = []
    for name, usual in (("mean", 0.0), ("std", 1.0)):
        given = found.get(name) or [usual] * 3
        three = isinstance(given, (list, tuple)) and len(given) == 3
        if not three or not all(isinstance(v, (int, float)) for v in given):
            return None
        values.append(tuple(map(float, given)))
    if not all(values[1]):
        return None
    mean, std = values
    return Inputs(mean, std, "RGB" if takes_rgb(found) else "BGR")


def takes_rgb(preprocessor: Mapping[str, Any]) -> bool:
    """Whether a host's preprocessor, of these settings, hands on RGB; else BGR, as it is read."""
    return any(preprocessor.get(name) for name in TO_RGB)


def check_backbone(checkpoint: Mapping[str, Any]) -> None:
    """Refuse a detector's file without any backbone.

    Raises:
        CheckpointError: With what it has.
    """
    state = weights_in(checkpoint).state
    if parts_of(state) and not any(part == "backbone" for key in state for part in key.split(".")):
        raise CheckpointError(
            "These are parts of a detector or segmentor without a backbone: its keys begin with "
            f"{first_parts(state)}. Name the whole checkpoint."
        )
