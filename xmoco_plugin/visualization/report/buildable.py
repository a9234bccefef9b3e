# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is built from the config of a run, which may be a stranger's."""

import copy
import inspect
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.registry import DATASETS

from ...untrusted import SettingsRefusedError, check_run_reads, check_run_settings
from ...untrusted.run_settings import reason
from .attempt import NotDrawnError

BUILT = ("default_scope", "model", "data_preprocessor", "train_dataloader", "val_dataloader")


def check_buildable(cfg: Config) -> None:
    """Makes sure that model and images of a config may be built, which may be a stranger's.

    Raises:
        SettingsRefusedError: as check_run_settings, check_run_reads.
        NotDrawnError: there is no model, or there are no images.
    """
    for part in ("model", "train_dataloader"):
        if not isinstance(cfg.get(part), Mapping):
            raise NotDrawnError(f"the config has no {part}")
    built = {key: cfg[key] for key in BUILT if key in cfg}
    built["val_cfg"] = {"bank_dataloader": _mapping(cfg.get("val_cfg")).get("bank_dataloader")}
    plain = _without_weights(Config(built).to_dict())
    try:
        check_run_settings(plain)
        check_run_reads(plain)
    except SettingsRefusedError as error:
        raise SettingsRefusedError(f"{reason(error)}, and a run's config is data") from None


def without_first_weights(cfg: Config) -> Config:
    """The config without first weights and downloads: all weights come from the checkpoints."""
    cfg = copy.deepcopy(cfg)
    for key in ("model", "train_dataloader", "val_dataloader", "val_cfg"):
        if isinstance(cfg.get(key), Mapping):
            cfg[key] = _without_weights(cfg[key].to_dict())
    with DefaultScope.overwrite_default_scope(cfg.get("default_scope") or "mmpretrain"):
        for loader in (cfg.train_dataloader, cfg.get("val_dataloader"), _bank(cfg)):
            for data in leaves(_mapping(loader).get("dataset")):
                kind = DATASETS.get(data["type"])
                names = [v for c in inspect.getmro(kind) for v in _parameters(c)]
                if "download" in names:
                    data["download"] = False
    return cfg


def leaves(data: Any) -> Iterator[Any]:
    """Configs of data sets, those inside wrappers too."""
    if isinstance(data, list | tuple):
        for item in data:
            yield from leaves(item)
    elif isinstance(data, Mapping):
        if "type" in data:
            yield data
        yield from leaves(data.get("dataset"))
        yield from leaves(data.get("datasets"))


def _bank(cfg: Config) -> Any:
    return _mapping(cfg.get("val_cfg")).get("bank_dataloader")


def _parameters(kind: type) -> Iterable[str]:
    return inspect.signature(vars(kind)["__init__"]).parameters if "__init__" in vars(kind) else ()


def _mapping(value: Any) -> Mapping:
    return value if isinstance(value, Mapping) else {}


def _without_weights(value: Any) -> Any:
    """Nested settings without init_cfg."""
    if isinstance(value, Mapping):
        return {k: _without_weights(v) for k, v in value.items() if k != "init_cfg"}
    if isinstance(value, list | tuple):
        return type(value)(_without_weights(item) for item in value)
    return value
