# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import copy
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from mmengine.config import Config
from mmengine.device import get_device
from mmengine.registry import DefaultScope, Registry
from mmengine.runner import Runner
from mmpretrain.registry import MODELS, TRANSFORMS
from torch.utils.data import DataLoader

from ..._config_scope import unmark_collate
from ...checkpoint import (
    CheckpointError,
    compare_state,
    describe_difference,
    read_checkpoint,
    state_dict_of,
)
from ...evaluation.features import ModelEmbedder, evaluation_mode
from ...untrusted import guard_reading, refuse_code_in_data
from ...weights import check_kinds
from ..fixed_views import fixed_randomness, fixed_views
from .buildable import check_buildable, without_first_weights

BATCH = 64


class Network:
    """A run's model and images, built anew from the config in its work dir.

    The config may be a stranger's: what it builds are registered classes, first weights that it
    names are not read, and no data set is downloaded.

    Args:
        cfg: of the run; not changed.
        seed: of whatever a pipeline draws.

    Raises:
        SettingsRefusedError: the config names something else than registered classes.
        NotDrawnError: it has no model or no training images.
    """

    def __init__(self, cfg: Config, seed: int = 0) -> None:
        check_buildable(cfg)
        self.cfg, self.seed = copy.deepcopy(without_first_weights(cfg)), seed
        refuse_code_in_data({k: v for k, v in cfg.items() if "dataloader" in k or k == "val_cfg"})
        guard_reading(self.cfg)
        cfg = self.cfg
        self.scope = cfg.get("default_scope") or "mmpretrain"
        self.train = self._loader(cfg.train_dataloader)
        bank: Any = (cfg.get("val_cfg") or {}).get("bank_dataloader")
        self.queries_apart = bool(bank and cfg.get("val_dataloader"))
        if self.queries_apart:
            self.bank, self.queries = self._loader(bank), self._loader(cfg.val_dataloader)
        else:
            with DefaultScope.overwrite_default_scope(self.scope):
                plain = _plain(cfg.train_dataloader, _preprocessor(cfg))
            self.bank = self.queries = self._loader(plain)
        self._model: torch.nn.Module | None = None

    def model(self, checkpoint: Path) -> torch.nn.Module:
        """The model with the weights of a checkpoint, on the machine's best device.

        Raises:
            CheckpointError: it cannot be read, or holds another model.
        """
        if self._model is None:
            self._model = self.build().to(get_device())
        state = state_dict_of(read_checkpoint(checkpoint))
        difference = compare_state(self._model.state_dict(), state)
        if difference.missing or difference.mismatched:
            raise CheckpointError(
                f"{checkpoint.name} does not hold the model of the work dir's config: "
                f"{describe_difference(difference)}"
            )
        check_kinds(self._model.state_dict(), state)
        self._model.load_state_dict(state, strict=False)
        return self._model

    def build(self) -> torch.nn.Module:
        """The config's model with random weights."""
        cfg = copy.deepcopy(self.cfg.model)
        if self.cfg.get("data_preprocessor"):
            cfg.setdefault("data_preprocessor", copy.deepcopy(self.cfg.data_preprocessor))
        with DefaultScope.overwrite_default_scope(self.scope):
            return MODELS.build(cfg)

    def features(
        self, model: torch.nn.Module, loader: DataLoader, indices: Sequence[int]
    ) -> torch.Tensor:
        """Unit-norm backbone features (N, D) of some images of a plain loader, on the CPU."""
        embed, parts = ModelEmbedder(model), []
        with fixed_randomness(self.seed), evaluation_mode(model):
            for first in range(0, len(indices), BATCH):
                samples = [loader.dataset[i] for i in indices[first : first + BATCH]]
                parts.append(embed(loader.collate_fn(samples))[0].cpu())
        return torch.cat(parts)

    def pixels(self, loader: DataLoader, indices: Sequence[int]) -> list[np.ndarray]:
        """Some images of a plain loader, each (H, W, 3) uint8 RGB, as the pipeline packs them.

        The host's loaders read BGR; what a pipeline has made float is clipped to 0..255.
        """
        with fixed_randomness(self.seed):
            return [_rgb(loader.dataset[i]["inputs"], bgr=True) for i in indices]

    def views(self, indices: Sequence[int]) -> list[list[np.ndarray]] | None:
        """Both views of some training images as the network gets them, normalisation undone.

        Returns:
            Two lists of N images (H, W, 3), uint8 RGB; None where there are no views.
        """
        preprocessor = self.build().data_preprocessor
        holder = SimpleNamespace(data_preprocessor=preprocessor)
        views = fixed_views(self.train, holder, indices, self.seed)
        if views is None:
            return None
        if getattr(preprocessor, "_enable_normalize", False):
            views = [view * preprocessor.std + preprocessor.mean for view in views]
        bgr = not getattr(preprocessor, "_channel_conversion", False)
        return [[_rgb(image, bgr) for image in view] for view in views]

    def class_name(self, label: int | None) -> str:
        """The class in words where the set names it by more than a number."""
        if label is None:
            return "unlabelled"
        names = (getattr(self.bank.dataset, "metainfo", None) or {}).get("classes") or ()
        name = str(names[label]) if label < len(names) else f"{label}"
        return f"class {name}" if name.isdigit() else name

    def _loader(self, cfg: dict) -> DataLoader:
        cfg = copy.deepcopy(dict(cfg))
        cfg.update(num_workers=0, persistent_workers=False, pin_memory=False)
        cfg.pop("prefetch_factor", None)
        cfg.setdefault("collate_fn", {"type": "default_collate"})
        unmark_collate(cfg)
        cfg.setdefault("sampler", {"type": "DefaultSampler", "shuffle": False})
        with DefaultScope.overwrite_default_scope(self.scope):
            return Runner.build_dataloader(cfg, seed=self.seed)


def _preprocessor(cfg: Config) -> dict:
    """The data preprocessor's config, wherever the Runner would find it."""
    return cfg.model.get("data_preprocessor") or cfg.get("data_preprocessor") or {}


def _plain(loader: dict, preprocessor: dict) -> dict:
    """A training loader that makes one plain view where it made, or left to the device, several.

    The shorter side is resized to what the views' crops are resized to, and the middle is cut out.

    Args:
        loader: of training.
        preprocessor: the model's, which makes the views where the pipeline leaves them to it.
    """
    loader = copy.deepcopy(dict(loader))
    data = loader["dataset"]
    while "pipeline" not in data and isinstance(data.get("dataset"), dict):
        data = data["dataset"]
    plain, views = [], False
    for step in data.get("pipeline") or ():
        kind = str(step["type"]).split(".")[-1]
        if kind == "MultiView":
            size = _crop_size(step.get("transforms") or ())
        elif kind in ("TwoViews", "OneView", "ChannelViews", "OneChannelView"):
            size = _recipe_size(TRANSFORMS, step)
        elif kind.startswith("Pack") and kind != "PackInputs" and not views:
            size = _recipe_size(MODELS, preprocessor)
        else:
            if not kind.startswith("Pack"):
                plain.append(step)
            continue
        views, size = True, size or 224
        if "Channel" in kind:  # the host's take pictures alone
            plain.append(dict(type="ChannelCrop", size=size, short=size))
        else:
            plain += [dict(type="ResizeEdge", scale=size), dict(type="CenterCrop", crop_size=size)]
    data["pipeline"] = [*plain, dict(type="PackInputs")]
    if views:
        loader["collate_fn"] = dict(type="default_collate")
    return loader


def _recipe_size(registry: Registry, maker: dict) -> int | None:
    """Shorter side of the views of this package's transform or preprocessor; None of others."""
    if "views" not in maker:
        return None
    recipes = getattr(registry.build(copy.deepcopy(dict(maker))), "recipes", None)
    return min(recipes[0].shape) if recipes else None


def _crop_size(transforms: Sequence) -> int | None:
    """What the first random crop of some nested transforms makes."""
    for step in transforms:
        if isinstance(step, list | tuple):
            found = _crop_size(step)
        else:
            found = step.get("scale") if "Crop" in str(step.get("type")) else None
            found = found or _crop_size(step.get("transforms") or ())
        if found:
            return int(np.min(found))
    return None


def _rgb(image: torch.Tensor, bgr: bool) -> np.ndarray:
    """(C, H, W) of any type as (H, W, 3) uint8."""
    array = image.detach().cpu().float().round().clamp(0, 255).to(torch.uint8).numpy()
    array = array.transpose(1, 2, 0)
    if array.shape[2] < 3:
        return np.repeat(array[:, :, :1], 3, axis=2)
    if array.shape[2] > 3:  # in the file's order; the first three
        return np.ascontiguousarray(array[:, :, :3])
    return array[:, :, ::-1] if bgr else array
