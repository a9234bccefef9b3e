# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The gate between a stranger's settings and what may be built from them."""

import re
from collections.abc import Mapping
from typing import Any

from .host_readers import RUNS
from .names import printable
from .positions import MODEL_PARTS, REFUSED, kinds_at
from .registered import MODEL_KINDS, SCOPES, Registered, find_registered
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
# The host writes keys into a config's text between quotes, as they are.
KEY = re.compile(r"[^'\"\\{}]*")
KEY_LIMIT = 200  # characters (ours)
# Backends of the host's files import modules and ask servers; these two read files.
BACKEND_KEYS = ("backend_args", "file_client_args", "sys_path", "server_list_cfg", "client_cfg")
LOCAL: tuple[dict[str, str] | None, ...] = (None, {}, {"backend": "local"}, {"backend": "disk"})
# Numbers of a model (ours), far above any that is trained: layers, widths, all others.
LAYERS = re.compile(r"(^|_)(depths?|layers|blocks|stages|repeats?|convs|stack\w*)$")
WIDTHS = re.compile(r"(^|_)(channels|dims?|width|planes|heads|groups|hidden\w*)$")
NUMBER_LIMITS = ((LAYERS, 1_000), (WIDTHS, 1 << 17), (re.compile(""), 1 << 26))


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

    def mapping(self, value: Mapping, scope: str, where: str, depth: int = 0) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise SettingsRefusedError(f"{where or 'the settings'}: {_shown(value)} is no dict.")
        if "_scope_" in value:
            scope = _known_scope(value["_scope_"], f"{where}._scope_".lstrip("."))
        found: dict[Any, Any] = {}
        for key, item in value.items():
            place = f"{where}.{_name(key)}" if where else _name(key)
            if self.model and key in DROPPED:
                continue
            if not where and not self.model and key in REFUSED:
                raise SettingsRefusedError(f"{place}: settings that come with data have none.")
            if isinstance(key, str) and key in TYPE_KEYS and item is not None:
                found[key] = self._type(item, scope, place)
                continue
            if key in ("_base_", "_delete_", "custom_imports"):
                raise SettingsRefusedError(f"{place}: settings that come with data have none.")
            if isinstance(key, str) and not (
                len(key) <= KEY_LIMIT and key.isprintable() and KEY.fullmatch(key)
            ):
                raise SettingsRefusedError(f"{place}: {_shown(key)} is no name of a setting.")
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
        if type(value) is int and self._in_model(where):
            self._number(value, where)
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
            first = re.split(r"[.\[]", where, maxsplit=1)[0]
            kinds = MODEL_KINDS if self.model else kinds_at(first)
            found = find_registered(name, kinds, scope)
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
        if self._in_model(where) and (len(value) > TEXT_LIMIT or not WORD.fullmatch(value)):
            raise SettingsRefusedError(
                f"{where}: {_shown(value)} could be the name of a file, an address or an "
                f"expression, and a model's settings have no such texts. {WAY_OUT}."
            )
        # The host evaluates it behind 'torch.'.
        if key in ("dtype", "warp_mode", "op") and not re.fullmatch(r"(torch\.)?\w+", value):
            raise SettingsRefusedError(f"{where}: {_shown(value)} is no type of numbers.")
        if value.lower().endswith(RUNS):
            raise SettingsRefusedError(
                f"{where}: {_shown(value)} is or may be a pickle, or YAML with objects, which is "
                f"not read for settings that come with data. {WAY_OUT}."
            )
        return value

    def _place(self, key: Any, item: Any, where: str) -> None:
        if key in BACKEND_KEYS and item not in LOCAL:
            raise SettingsRefusedError(
                f"{where}: {_shown(item)} reads from elsewhere than files. {WAY_OUT}."
            )
        model = self._in_model(where)
        if model and key == "pretrained" and item:
            raise SettingsRefusedError(f"{where}: {_shown(item)} would fetch weights. {WAY_OUT}.")
        if model and isinstance(item, str) and item and PLACES.search(str(key)):
            raise SettingsRefusedError(
                f"{where}: {_shown(item)} names something to be read, and a model's settings "
                f"that come with data have no such text. {WAY_OUT}."
            )

    def _in_model(self, where: str) -> bool:
        return self.model or re.split(r"[.\[]", where, maxsplit=1)[0] in MODEL_PARTS

    def _number(self, value: int, where: str) -> None:
        key = re.sub(r"\[\d+\]", "", where).rsplit(".", 1)[-1]
        most = next(most for name, most in NUMBER_LIMITS if name.search(key))
        if abs(value) > most:
            raise SettingsRefusedError(
                f"{where}: {_shown(value)} is more than any network has, the limit is {most:,}. "
                f"{WAY_OUT}."
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
