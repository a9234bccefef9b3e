# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a run's config changes: of the host's config it inherits, and of another run's."""

import importlib.util
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.hub import get_config

from ..._config_scope import config_path, configs_folder, is_inside
from ...untrusted import read_text

HOST = "mmpretrain::"
STATED = re.compile(rf"^differences from ({HOST}\S+(?: \+ {HOST}\S+)*)$", re.M)
ABSENT = "—"
LIMIT = 1 << 20  # bytes of an opening.txt (ours)
# Where and what is started, marks of inheritance: no settings of a method.
IGNORED = {"work_dir", "launcher", "_scope_", "experiment_name", "load_from", "resume"}


def flatten(value: Any, prefix: str = "") -> dict[str, str]:
    """Leaves of nested dicts and of lists of dicts, 'model.head.temperature' -> '0.2'."""
    items: Any
    if isinstance(value, Mapping) and value:
        items = ((str(key), item) for key, item in value.items() if key not in IGNORED)
    elif isinstance(value, list | tuple) and any(isinstance(item, Mapping) for item in value):
        items = ((str(i), item) for i, item in enumerate(value))
    else:
        return {prefix: repr(tuple(value) if isinstance(value, list) else value)}
    leaves: dict[str, str] = {}
    for key, item in items:
        leaves |= flatten(item, f"{prefix}.{key}" if prefix else key)
    return leaves


def differences(*configs: Config) -> list[list[str]]:
    """Rows [setting, value in each config] of the settings in which they are not all alike."""
    flat = [flatten(config.to_dict()) for config in configs]
    rows = [[key, *(f.get(key, ABSENT) for f in flat)] for key in sorted(set().union(*flat))]
    return [row for row in rows if len(set(row[1:])) > 1]


def host_bases(file: Path) -> list[str]:
    """The host's configs that a config file inherits, through all files of its ``_base_`` chain."""
    found: list[str] = []
    for base in Config._get_base_files(str(file)):
        if base.startswith(HOST):
            found.append(base)
        elif base.startswith("xmoco_plugin::"):
            found += host_bases(Path(config_path(base.partition("::")[2])))
        elif "::" not in base:
            found += host_bases(file.parent / base)
    return found


def host_config(config_name: str) -> tuple[str, Config] | None:
    """What a run's config came from in the host: its names and the config they make.

    A config in a work dir has its bases merged into it and names none, so they are looked up by
    its file name among the configs of this package.

    Returns:
        None where this package has no config of that name, or one without a base in the host.
    """
    files = configs_folder().rglob("*.py")
    file = next((file for file in files if file.name == config_name), None)
    return _merged(host_bases(file) if file is not None else [])


def stated_host_config(folder: Path) -> tuple[str, Config] | None:
    """The same of a run of pretrain.py, whose opening.txt names what its config came from.

    Returns:
        None where it names none, or one that is not in the installed package.

    Raises:
        FileRefusedError: opening.txt is no regular file, or too large.
    """
    file = folder / "opening.txt"
    if not os.path.lexists(file):
        return None
    stated = STATED.search(read_text(file, LIMIT))
    names = stated[1].split(" + ") if stated else []
    return _merged(names) if all(map(is_installed, names)) else None


def is_installed(name: str) -> bool:
    """Whether 'mmpretrain::file' names a config of the installed package, and none elsewhere."""
    spec = importlib.util.find_spec(HOST.removesuffix("::"))
    if spec is None or spec.origin is None:
        return False
    folder = Path(spec.origin).parent / ".mim" / "configs"
    return is_inside(folder / name.removeprefix(HOST), folder)


def _merged(names: list[str]) -> tuple[str, Config] | None:
    if not names:
        return None
    merged = Config({})
    for name in names:
        merged.merge_from_dict(load_base(name).to_dict())
    return " + ".join(names), merged


def load_base(name: str) -> Config:
    """A config by file, or by 'package::file' as in ``_base_``.

    Raises:
        ValueError: there is none, or it cannot be read.
    """
    if "::" not in name and not Path(name).is_file():
        raise ValueError(f"there is no config {name!r} (looked from {Path.cwd()})")
    try:
        if name.startswith("xmoco_plugin::"):
            return Config.fromfile(config_path(name.partition("::")[2]))
        return get_config(name) if "::" in name else Config.fromfile(name)
    except Exception as error:  # whatever a config or the look-up of one may raise
        raise ValueError(f"the config {name!r} cannot be read: {error}") from error
