# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Makes `xmoco_plugin::` in `_base_` name a config of this package, and `mmseg::` one of mmseg."""

import importlib.util
from functools import cache, wraps
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.utils import is_installed

SCOPE = "xmoco_plugin"
# In whose registry a config's dicts are looked up, by its folder; mmpretrain's for all others.
HOSTS = {"detection": "mmdet", "segmentation": "mmseg"}
_PACKAGE = Path(__file__).resolve().parent


def configs_folder() -> Path:
    """Returns the folder of this package's configs."""
    # A wheel carries configs in the .mim folder; a checkout has them beside the package.
    folders = [_PACKAGE / ".mim" / "configs", _PACKAGE.parent / "configs"]
    return next((folder for folder in folders if folder.is_dir()), folders[0])


def config_path(name: str) -> str:
    """Returns the absolute path of a config of this package.

    Args:
        name: Path below configs/, such as 'xmoco_r50_8xb32.py' or 'demo/...'.

    Raises:
        FileNotFoundError: There is none of that name; the message lists those that exist.
    """
    folder = configs_folder()
    path = folder / name
    if not is_inside(path, folder):
        known = sorted(str(file.relative_to(folder)) for file in folder.rglob("*.py"))
        raise FileNotFoundError(
            f"xmoco_plugin has no config {name!r} in {folder}. It has: {', '.join(known) or 'none'}"
        )
    return str(path)


def is_inside(file: Path, folder: Path) -> bool:
    """Whether a file is there and lies in a folder, when links and '..' are followed."""
    return file.is_file() and file.resolve().is_relative_to(folder.resolve())


def mmseg_config_path(name: str) -> str | None:
    """Returns the path of an mmseg config where the host does not find mmseg; None where it does.

    The host asks for the distribution mmsegmentation; the maintained stack's is
    onedl-mmsegmentation, with the same module.

    Args:
        name: Path below configs/, such as 'fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py'.
    """
    spec = importlib.util.find_spec("mmseg")
    if spec is None or spec.origin is None or is_installed("mmsegmentation"):
        return None
    folder = Path(spec.origin).parent / ".mim" / "configs"
    path = folder / name
    if not is_inside(path, folder):
        raise FileNotFoundError(f"mmseg has no config {name!r}: there is no {path}.")
    return str(path)


def unmark_collate(loader: dict[str, Any]) -> None:
    """Takes the mark `_scope_`, which inherited dicts have, out of a dataloader's collate function.

    The Runner would hand it to the function, as all that is in there (docs/dev/hosts.md).
    """
    if isinstance(loader.get("collate_fn"), dict):
        loader["collate_fn"].pop("_scope_", None)


def register_config_scope() -> None:
    """Lets mmengine resolve `xmoco_plugin::` and `mmseg::`; every other name goes the host's way.

    Once a process: for each name the host reads all lists of a package's models, half a second.

    mmengine keeps the packages it resolves in a closed table, refuses a name without a folder
    before it looks there, and would then build everything in a registry named like the package.
    Handed back is the host's that the config trains in.
    """
    host_lookup = Config._get_cfg_path
    if getattr(host_lookup, "resolves", None) == SCOPE:
        return

    # Of an installed package's config; beside which file it is named makes no difference.
    in_package = cache(lambda cfg_path: host_lookup(cfg_path, ""))

    @wraps(host_lookup)
    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        scope, separator, name = cfg_path.partition("::")
        if separator and scope == SCOPE:
            return config_path(name), HOSTS.get(name.partition("/")[0], "mmpretrain")
        if separator and scope == "mmseg" and (path := mmseg_config_path(name)):
            return path, scope
        return in_package(cfg_path) if separator else host_lookup(cfg_path, filename)

    get_cfg_path.resolves = SCOPE  # type: ignore[attr-defined]
    Config._get_cfg_path = staticmethod(get_cfg_path)
