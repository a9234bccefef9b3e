# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Networks that mmpretrain and timm know by name: where their weights are, under which licence."""

import difflib
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..weights import cached_file, fetch
from .errors import TeacherError
from .network import MEAN, STD

HUB = "https://huggingface.co/{name}/resolve/main/model.safetensors"
# What weights of mmpretrain are under, by their names: its metafiles do not say.
LICENCES = (
    (r"dinov2", "Apache-2.0"),
    (r"convnext-v2", "CC-BY-NC 4.0"),
    (r"3rdparty", "not stated by mmpretrain: ask where they are from"),
    (r"", "Apache-2.0 (OpenMMLab's own)"),
)
RESTRICTED = re.compile(r"\bnc\b|dinov3|research|non-?commercial|other|not stated", re.IGNORECASE)
FILE = re.compile(r"\.(pth|pt|ckpt|bin|safetensors|tar)$")


class Offer(NamedTuple):
    """A network that is known by name.

    Attributes:
        name: As given.
        library: 'mmpretrain' or 'timm'.
        backbone: Its config, for mmpretrain's registry.
        url: Of its weights.
        place: Where the file lies once it is fetched, or is put by hand.
        megabytes: Of the file, about: its parameters in float32.
        licence: Of the weights, in words.
        mean, std: In 0..255.
        size: The one size of images that it takes; None where it takes any.
    """

    name: str
    library: str
    backbone: dict[str, Any]
    url: str
    place: Path
    megabytes: float
    licence: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int | None = None

    @property
    def restricted(self) -> bool:
        """Whether the licence forbids something that a user may want, or is not known."""
        return bool(RESTRICTED.search(self.licence))

    def describe(self) -> str:
        """From where, how large, under which licence, in two sentences."""
        warning = ", which restricts what you may do with them: read it" * self.restricted
        return (
            f"{self.name} of {self.library}: about {self.megabytes:,.0f} MB from {self.url}. "
            f"Licence of the weights: {self.licence}{warning}."
        )

    def get(self) -> Path:
        """The file, fetched unless it is there.

        Raises:
            CheckpointError: It cannot be fetched, or is not what it should be.
        """
        return fetch(self.url, self.place)


def looks_like_a_file(teacher: str) -> bool:
    """Whether a teacher's name is meant as a path."""
    return "/" in teacher or bool(FILE.search(teacher)) or Path(teacher).expanduser().exists()


def offer_of(name: str) -> Offer:
    """The network of a name.

    Raises:
        TeacherError: Neither library has it, or its weights; the nearest names are given.
    """
    found = _of_mmpretrain(name) or _of_timm(name)
    if found is not None:
        return found
    near = difflib.get_close_matches(name.lower(), _names(), n=4, cutoff=0.5)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    raise TeacherError(
        f"--teacher {name}: there is no such file, and neither mmpretrain nor timm has weights "
        f"under this name.{hint}"
    )


def timm_backbone(name: str) -> dict[str, Any] | None:
    """The config of a network of timm, without weights; None where timm has none such."""
    timm = _timm()
    base = name.split(".")[0]
    if timm is None or not timm.is_model(base):
        return None
    config: dict[str, Any] = dict(type="TIMMBackbone", model_name=base)
    try:  # vision transformers that take images of any size
        with torch.device("meta"):
            timm.create_model(base, dynamic_img_size=True)
        config["dynamic_img_size"] = True
    except TypeError:
        pass
    return config


def _of_timm(name: str) -> Offer | None:
    backbone = timm_backbone(name)
    timm = _timm()
    if backbone is None or timm is None:
        return None
    facts = timm.models.get_pretrained_cfg(name)
    if facts is None or not (facts.url or facts.hf_hub_id):
        return None
    if facts.hf_hub_id:  # in timm's own names, which older addresses are not; many have one name
        url = HUB.format(name=facts.hf_hub_id)
        place = cached_file(f"https://x/timm-{facts.hf_hub_id.rsplit('/', 1)[-1]}.safetensors")
    else:
        url, place = facts.url, cached_file(facts.url)
    with torch.device("meta"):
        model = timm.create_model(name.split(".")[0])
    fixed = facts.fixed_input_size and not backbone.get("dynamic_img_size")
    return Offer(
        name=name,
        library="timm",
        backbone=backbone,
        url=url,
        place=place,
        megabytes=sum(p.numel() for p in model.parameters()) * 4e-6,
        licence=facts.license or "not stated by timm: ask where they are from",
        mean=tuple(255 * v for v in facts.mean),
        std=tuple(255 * v for v in facts.std),
        size=facts.input_size[-1] if fixed else None,
    )


def _of_mmpretrain(name: str) -> Offer | None:
    from mmpretrain.apis.model import ModelHub

    try:
        facts = ModelHub.get(name)
    except ValueError:
        return None
    model = facts.config.get("model", {})
    if not facts.weights or not isinstance(model.get("backbone"), dict):
        return None
    backbone = {k: v for k, v in model["backbone"].to_dict().items() if k != "init_cfg"}
    pixels = facts.config.get("data_preprocessor") or {}
    metadata = facts.metadata
    return Offer(
        name=name,
        library="mmpretrain",
        backbone=backbone,
        url=facts.weights,
        place=cached_file(facts.weights),
        megabytes=(getattr(metadata, "parameters", None) or 0) * 4e-6,
        licence=next(words for pattern, words in LICENCES if re.search(pattern, name.lower())),
        mean=tuple(pixels.get("mean") or MEAN),
        std=tuple(pixels.get("std") or STD),
    )


def _names() -> list[str]:
    from mmpretrain.apis.model import ModelHub

    timm = _timm()
    return [*ModelHub._models_dict, *(timm.list_pretrained() if timm is not None else ())]


def _timm() -> Any:
    try:
        import timm
    except ImportError:
        return None
    return timm
