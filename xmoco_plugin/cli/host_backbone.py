# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The backbone of a fine-tuning's config beside the weights that it starts from."""

import importlib
import math
import re
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from xmoco_plugin.checkpoint import CheckpointError, compare_state
from xmoco_plugin.export import architecture, backbone_settings
from xmoco_plugin.export.names import vit_library
from xmoco_plugin.untrusted import printable

# Settings that tell backbones of a class apart.
TELLING = ("arch", "depth", "deepen_factor", "widen_factor", "embed_dims")


class HostBackbone(NamedTuple):
    """The backbone that a config builds.

    Attributes:
        state: Its weights by key, of random values.
        named: Its class and what tells it from others of the class.
    """

    state: dict[str, torch.Tensor]
    named: str

    @classmethod
    def of(cls, cfg: Config) -> "HostBackbone | None":
        """Builds it; None where there is none, or none can be built: the training says why."""
        settings = (cfg.get("model") or {}).get("backbone")
        scope = cfg.get("default_scope")
        if not isinstance(settings, dict) or not isinstance(scope, str):
            return None
        plain = {key: value for key, value in settings.items() if key != "init_cfg"}
        try:
            importlib.import_module(f"{scope}.models")
            registry = importlib.import_module(f"{scope}.registry").MODELS
            overwritten = DefaultScope.overwrite_default_scope(scope)
            with overwritten, torch.random.fork_rng(devices=[]):
                state = registry.build(plain).state_dict()
        except Exception:  # whatever a class may say of its settings
            return None
        return cls(state, _named(plain))

    @property
    def in_mmseg_names(self) -> bool:
        """Whether it is mmseg's ViT, which names its layers otherwise and reads no prefix."""
        return vit_library(self.state) == "mmseg"


def set_image_size(cfg: Config, weights: Mapping[str, Any]) -> int | None:
    """Lets a ViT be built for images as large as those that its weights were trained on.

    Its positions are then the weights' own, and are stretched to the images as these come; built
    for another size, they would be changed while they are loaded.

    Args:
        cfg: Of the fine-tuning; changed in place.
        weights: Of the backbone, without a prefix.

    Returns:
        The side that was set, in pixels; None where there is nothing to set.
    """
    settings, positions = cfg.model.backbone, weights.get("pos_embed")
    patches = weights.get("patch_embed.projection.weight")
    if "img_size" not in settings or positions is None or patches is None:
        return None
    places = positions.shape[1] - ("cls_token" in weights)
    side = math.isqrt(places) * int(patches.shape[-1])
    built = settings.img_size
    if side == 0 or math.isqrt(places) ** 2 != places or side in (built, *_sides(built)):
        return None
    settings.img_size = (side, side) if isinstance(built, list | tuple) else side
    return side


def check_family(
    cfg: Config, ours: HostBackbone, weights: Mapping[str, Any], checkpoint: Mapping[str, Any]
) -> None:
    """Refuses weights that are of another backbone than a config builds, before it is trained.

    What ``BackboneArrivalHook`` is told to ignore may be missing. Without that hook a part may.

    Args:
        cfg: Of the fine-tuning.
        ours: Its backbone.
        weights: Those that it starts from, without a prefix.
        checkpoint: Their file, as read.

    Raises:
        CheckpointError: Names both.
    """
    hooks = [h for h in cfg.get("custom_hooks") or [] if h.get("type") == "BackboneArrivalHook"]
    ignored = hooks[0].get("ignore") or [] if hooks else []
    patterns = [ignored] if isinstance(ignored, str) else ignored

    def counts(key: str) -> bool:
        return "num_batches_tracked" not in key and not any(re.search(p, key) for p in patterns)

    wanted = {key: value for key, value in ours.state.items() if counts(key)}
    difference = compare_state(wanted, {k: v for k, v in weights.items() if k in wanted})
    wrong = [*difference.missing, *(key for key, *_ in difference.mismatched)]
    if not wrong or (not hooks and len(wrong) * 2 < len(wanted)):
        return
    settings = backbone_settings(checkpoint)
    known = architecture(weights)
    held = _named(settings) if settings else "another" if known == "unknown" else known
    raise CheckpointError(
        f"the file holds the backbone {printable(held)}, and the config builds {ours.named}: "
        f"{len(wrong):,} of {len(wanted):,} weights are missing or of another shape, such as "
        f"{wrong[0]}. docs/backbones.md lists a config for each family."
    )


def _sides(size: Any) -> tuple[int, ...]:
    return tuple(size) if isinstance(size, list | tuple) and len(set(size)) == 1 else ()


def _named(settings: Mapping[str, Any]) -> str:
    told = ", ".join(
        f"{key}={settings[key]!r}"
        for key in TELLING
        if type(settings.get(key)) in (str, int, float)
    )
    return f"{settings.get('type')} ({told})" if told else str(settings.get("type"))
