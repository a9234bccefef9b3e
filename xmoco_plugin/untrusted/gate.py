# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The gate between a stranger's settings and what may be built from them."""

import re
from collections.abc import Mapping
from typing import Any

from .names import printable
from .registered import MODEL_KINDS, RUN_KINDS, SCOPES, Registered, find_registered
from .settings import DEPTH_LIMIT, NotLiteral, SettingsRefusedError

WAY_OUT = "Name a config of your own with --config if you want it built"
# The weights of the checkpoint take the place of what these would load or draw.
DROPPED = ("init_cfg", "pretrained")
# Settings whose value the host looks up as it does a type.
TYPE_KEYS = ("type", "norm_layer", "constructor", "runner_type")
# Of mmcv.ops, under ``type`` and not registered; the host evaluates the first as a text.
OPS = ("nms", "soft_nms", "nms_match", "nms_quadri", "nms_rotated", "RoIAlign", "RoIPool")
SIZE_LIMIT = 200_000  # values in all (ours); the largest models of the hosts have a few hundred
TEXT_LIMIT = 200  # characters of a setting of a model (ours)
# What a model's settings are made of: 'same', 'eva02-base', 'regnetx_1.6gf', '1024/20'.
WORD = re.compile(r"[\w+\- ]*(\d\.\d\w*)?|\d+/\d+", re.ASCII)
# Settings that name a file, a folder, an address or something fetched from one.
PLACES = re.compile(
    r"path|file|ckpt|checkpoint|url|uri|(^|_)(dir|root)$|tokenizer|vocab|pretrain|prototype|"
    r"answer|margins|class_weight|memory_bank|backend|client|name_or|cache|teacher_config"
)
PICKLED = re.compile(r"\.(pkl|pickle)$", re.IGNORECASE)  # by its ending the host knows one


def check_model_settings(settings: Mapping[str, Any], source: object = "") -> dict[str, Any]:
    """Settings of a model as they may be built, or none.

    Every ``type`` at any depth names a class that is registered with the host, mmdet, mmseg or us;
    ``init_cfg`` and ``pretrained`` are dropped; nothing names a file, an address, an expression or
    a class that reads such things by itself.

    Args:
        settings: Of a model, or several parts of a config; as from :func:`read_settings`.
        source: The file that they are from, for the message.

    Returns:
        New dicts, lists and tuples.

    Raises:
        SettingsRefusedError: Names the setting at fault.
    """
    try:
        return _Gate(model=True).mapping(settings, "mmpretrain", "")
    except SettingsRefusedError as error:
        raise SettingsRefusedError(_of(source, error)) from None


def check_run_settings(settings: Mapping[str, Any], source: object = "") -> dict[str, Any]:
    """A run's whole config as it may be trained with: as above, with data sets, hooks, loops.

    Its texts may name files and folders, which are the user's; no pickle is among them, only this
    package is imported, and nothing that is looked up is an unregistered name.

    Args:
        settings: Of a whole config; as from :func:`read_settings`.
        source: The file that they are from, for the message.

    Returns:
        New dicts, lists and tuples.

    Raises:
        SettingsRefusedError: Names the setting at fault.
    """
    try:
        return _checked_run(dict(settings))
    except SettingsRefusedError as error:
        raise SettingsRefusedError(_of(source, error)) from None


def _checked_run(settings: dict[str, Any]) -> dict[str, Any]:
    imports = settings.pop("custom_imports", None)
    names = imports.get("imports") if isinstance(imports, Mapping) else imports
    for name in names if isinstance(names, (list, tuple)) else [names]:
        if name is None or (isinstance(name, str) and re.fullmatch(r"xmoco_plugin(\.\w+)*", name)):
            continue
        raise SettingsRefusedError(
            f"custom_imports: {_shown(name)} is not xmoco_plugin, and nothing else is imported for "
            f"settings that come with data. {WAY_OUT}."
        )
    scope = _known_scope(settings.get("default_scope") or "mmpretrain", "default_scope")
    checked = _Gate(model=False).mapping(settings, scope, "")
    if imports is not None:
        checked["custom_imports"] = dict(imports=["xmoco_plugin"], allow_failed_imports=False)
    return checked


def _of(source: object, error: Exception) -> str:
    return f"{printable(str(source))}: {error}" if str(source) else str(error)


class _Gate:
    """Walks over settings once; counts what it has seen."""

    def __init__(self, model: bool) -> None:
        self.model, self.count = model, 0
        self.kinds = MODEL_KINDS if model else RUN_KINDS

    def mapping(self, value: Mapping, scope: str, where: str, depth: int = 0) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise SettingsRefusedError(f"{where or 'the settings'}: {_shown(value)} is no dict.")
        if "_scope_" in value:
            scope = _known_scope(value["_scope_"], f"{where}._scope_".lstrip("."))
        found = {}
        for key, item in value.items():
            place = f"{where}.{_name(key)}" if where else _name(key)
            if self.model and key in DROPPED:
                continue
            if isinstance(key, str) and key in TYPE_KEYS and item is not None:
                found[key] = self._type(item, scope, place)
                continue
            if key in ("_base_", "_delete_", "custom_imports"):
                raise SettingsRefusedError(f"{place}: settings that come with data have none.")
            if not isinstance(key, (str, int)) or isinstance(key, bool):
                raise SettingsRefusedError(f"{place}: {_shown(key)} is no name of a setting.")
            self._place(key, item, place)
            found[key] = self.value(item, scope, place, depth + 1)
        return found

    def value(self, value: Any, scope: str, where: str, depth: int) -> Any:
        self.count += 1
        if self.count > SIZE_LIMIT:
            raise SettingsRefusedError(f"{where}: there are more than {SIZE_LIMIT:,} settings.")
        if depth > DEPTH_LIMIT:
            raise SettingsRefusedError(f"{where}: settings lie within settings too deep.")
        if isinstance(value, Mapping):
            return self.mapping(value, scope, where, depth)
        if isinstance(value, (list, tuple)):
            return type(value)(
                [
                    self.value(item, scope, f"{where}[{i}]", depth + 1)
                    for i, item in enumerate(value)
                ]
            )
        if isinstance(value, str):
            return self._text(value, where)
        if value is None or type(value) in (bool, int, float, complex):
            return value
        if isinstance(value, (set, frozenset)):
            return {self.value(item, scope, where, depth + 1) for item in value}
        raise SettingsRefusedError(
            f"{where}: {_shown(value)} is no number, text, list or dict. {WAY_OUT}."
        )

    def _type(self, value: Any, scope: str, where: str) -> str:
        name = value.text if isinstance(value, NotLiteral) else value
        found: Registered | None = None
        if isinstance(name, str) and len(name) <= TEXT_LIMIT:
            if name in OPS:
                return name
            found = find_registered(name, self.kinds, scope)
        if found is None:
            raise SettingsRefusedError(
                f"{where}: type {_shown(name)} is no registered class, and nothing is imported for "
                f"settings that come with data. {WAY_OUT}."
            )
        if found.reads:
            raise SettingsRefusedError(
                f"{where}: type {_shown(name)} may read files, ask the network or run texts of "
                f"the settings' choice. {WAY_OUT}."
            )
        return found.name

    def _text(self, value: str, where: str) -> str:
        key = re.sub(r"\[\d+\]", "", where).rsplit(".", 1)[-1]
        if "{{" in value or "\0" in value:
            raise SettingsRefusedError(f"{where}: {_shown(value)} is a template of the host's.")
        if self.model and (len(value) > TEXT_LIMIT or not WORD.fullmatch(value)):
            raise SettingsRefusedError(
                f"{where}: {_shown(value)} could be the name of a file, an address or an "
                f"expression, and a model's settings have no such texts. {WAY_OUT}."
            )
        # The host evaluates it behind 'torch.'.
        if key in ("dtype", "warp_mode", "op") and not re.fullmatch(r"(torch\.)?\w+", value):
            raise SettingsRefusedError(f"{where}: {_shown(value)} is no type of numbers.")
        if PICKLED.search(value):
            raise SettingsRefusedError(
                f"{where}: {_shown(value)} is or may be a pickle, which is not read for settings "
                f"that come with data. {WAY_OUT}."
            )
        return value

    def _place(self, key: Any, item: Any, where: str) -> None:
        if self.model and isinstance(item, str) and item and PLACES.search(str(key)):
            raise SettingsRefusedError(
                f"{where}: {_shown(item)} names something to be read, and a model's settings "
                f"that come with data have no such text. {WAY_OUT}."
            )


def _known_scope(scope: Any, where: str) -> str:
    if not isinstance(scope, str) or scope not in SCOPES:
        raise SettingsRefusedError(
            f"{where}: {_shown(scope)} is none of {', '.join(SCOPES)}. {WAY_OUT}."
        )
    return scope


def _shown(value: Any) -> str:
    """A value as text that may be printed: Python's spelling escapes what is not printable."""
    text = repr(value.text if isinstance(value, NotLiteral) else value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _name(key: Any) -> str:
    return key if isinstance(key, str) and key.isidentifier() else _shown(key)
