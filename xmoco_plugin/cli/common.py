# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What train.py and test.py share: options, data folders, devices."""

import argparse
import inspect
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmpretrain.datasets import ImageNet
from mmpretrain.registry import DATASETS

from xmoco_plugin._config_scope import unmark_collate
from xmoco_plugin.cli.class_folders import UNLABELED, check_classes
from xmoco_plugin.cli.exits import run as run
from xmoco_plugin.cli.merging import check_hooks, merge_options
from xmoco_plugin.cli.options.shared import no_config
from xmoco_plugin.downstream import SCOPES, leaf_datasets, require_libraries
from xmoco_plugin.untrusted import refusal, refuse_code_in_data
from xmoco_plugin.untrusted.files import ANNOTATION_LIMIT
from xmoco_plugin.weights import read_checkpoint


def load_config(path: str) -> Config:
    """Reads a config file.

    Raises:
        FileNotFoundError: There is no such file.
        DownstreamError: It inherits from a library that is not installed.
    """
    if not Path(path).is_file():
        raise FileNotFoundError(no_config(path))
    try:
        return Config.fromfile(path)
    except ImportError as error:
        if "mmseg" in str(error):
            require_libraries("mmseg")
        elif "mmdet" in str(error) or "xmoco_plugin.downstream" in str(error):
            require_libraries("mmdet")
        raise


def merge_common(
    cfg: Config, args: argparse.Namespace, loader_defaults: dict, subfolder: str = ""
) -> None:
    """Writes the common options into `cfg`; --cfg-options come last and win.

    Args:
        cfg: Changed in place.
        args: With the attributes of :func:`add_common_arguments`.
        loader_defaults: Dataloader settings to use where the config sets none.
        subfolder: Of the default work dir, for what is no training: the Runner writes the config it
            is given into its work dir, over the training's.

    Raises:
        ValueError: --data-root is given and no dataset of the config takes it; an option or a hook
            does not fit; or the work dir of what is no training holds one.
    """
    os.environ.setdefault("LOCAL_RANK", str(args.local_rank))
    cfg.launcher = args.launcher
    if args.work_dir is not None:
        cfg.work_dir = args.work_dir
    else:
        usual = cfg.get("work_dir") or os.path.join("work_dirs", Path(args.config).stem)
        cfg.work_dir = os.path.join(usual, subfolder) if subfolder else usual
    for loader in dataloaders(cfg):
        for key, value in loader_defaults.items():
            # Images of unlike sizes are the rule there, and not for default_collate.
            if key != "collate_fn" or cfg.get("default_scope") not in SCOPES:
                loader.setdefault(key, value)
        unmark_collate(loader)
    if args.data_root is not None:
        set_data_root(cfg, args.data_root, args.config)
    if args.cfg_options is not None:
        merge_options(cfg, args.cfg_options)
    check_hooks(cfg)
    if subfolder and Path(cfg.work_dir, "last_checkpoint").exists():
        raise ValueError(
            f"--work-dir {cfg.work_dir} holds a training, whose config would be lost: name another."
        )
    for loader in dataloaders(cfg):
        if args.no_pin_memory or get_device() == "cpu":
            loader.pin_memory = False  # without an accelerator torch only warns about it
        if not loader.get("num_workers"):
            loader.persistent_workers = False  # torch refuses it where there are no workers


def for_parts_left(
    args: argparse.Namespace, cfg: Config, moved: Mapping[str, str] | None = None
) -> argparse.Namespace:
    """The options with --cfg-options only of parts that `cfg` still has.

    Args:
        args: As for :func:`merge_common`.
        cfg: Of which parts that are not run were set to None.
        moved: Stages, by those whose parts they have become.
    """
    if not args.cfg_options:
        return args
    left = {}
    for key, value in args.cfg_options.items():
        top, dot, rest = key.partition(".")
        stage, line, part = top.partition("_")
        if moved and stage in moved and line:
            top = f"{moved[stage]}_{part}"
        if not dot or cfg.get(top) is not None:
            left[top + dot + rest] = value
    return argparse.Namespace(**{**vars(args), "cfg_options": left or None})


def set_data_root(
    cfg: Config, root: str, name: str, loaders: Iterable[ConfigDict] | None = None
) -> None:
    """Lets every dataset of `cfg`, which errors call `name`, read below `root`.

    The types of the datasets are looked up, which imports what a dotted one names.

    Args:
        cfg: Changed in place.
        root: Folder.
        name: Of the config.
        loaders: Those of `cfg` whose datasets are meant. Defaults to all.

    Raises:
        ValueError: No dataset of the config takes it.
    """
    takers = [
        data
        for loader in (dataloaders(cfg) if loaders is None else loaders)
        for data in leaf_datasets(loader.dataset)
        if _parameter(data, "data_root") or "data_root" in data
    ]
    if not takers:
        raise ValueError(f"--data-root {root}: no dataset of {name} reads a folder.")
    for data in takers:
        data.data_root = root
    _move_evaluators(cfg, root)


def check_data(cfg: Config) -> None:
    """Checks that what the datasets of `cfg` read is there, and that reading it runs nothing.

    Raises:
        FileNotFoundError: The folder or file that is missing, and how to name another.
        SettingsRefusedError: A file that the host would run as code.
    """
    for loader in dataloaders(cfg):
        refuse_code_in_data(loader.get("dataset"), "dataset")
    for data in datasets(cfg):
        root = data.get("data_root") or ""
        download = _parameter(data, "download")
        if "://" in root or (
            download is not None and data.get("download", download.default) is True
        ):
            continue
        imagenet, key_of_folder = data.type in ("ImageNet", ImageNet), "data_prefix"
        prefix = data.get("data_prefix") or {}
        if imagenet and not prefix and data.get("split"):  # then that is the folder's name
            prefix, key_of_folder = data.split, "split"
        folders = [prefix] if isinstance(prefix, str) else list(prefix.values())
        if "://" not in str(folders):
            base = Path(root).expanduser()
            check_classes(data, [base / (folder or "") for folder in folders or [""]])
        if not (root or data.get("ann_file") or any(folders)) and _parameter(data, "data_root"):
            raise ValueError(f"{data.type} reads a folder: name it with --data-root FOLDER.")
        for key, paths in (
            ("data_root", [root]),
            ("ann_file", [data.get("ann_file")]),
            (key_of_folder, folders),
        ):
            for path in paths:
                full = Path(root).expanduser()
                if key != "data_root":
                    full = full / (path or "")
                if path and "://" not in path and not full.exists():
                    raise FileNotFoundError(
                        f"{data.type}: {key}={path!r} names {full}, which does not exist (looked "
                        f"from {Path.cwd()}). Name the folder of your data with --data-root "
                        "FOLDER, or this one setting with --cfg-options."
                        + (UNLABELED if imagenet and key != "data_root" else "")
                    )
                listed = key == "ann_file" and path and "://" not in path
                if listed and (reason := refusal(full, ANNOTATION_LIMIT)):
                    raise ValueError(f"{data.type}: ann_file={path!r} names {full}: {reason}.")


def check_checkpoint(path: str) -> None:
    """Reads a checkpoint of this machine without running code it may carry.

    Raises:
        CheckpointError: It is missing, damaged, needs code to be read, or holds weights that
            cannot be right.
    """
    read_checkpoint(path, mmap=True)


def datasets(cfg: Config) -> Iterator[ConfigDict]:
    """Yields every dataset's config, those inside wrappers (ConcatDataset, ...) too."""

    for loader in dataloaders(cfg):
        yield from leaf_datasets(loader.dataset)


def dataloaders(cfg: Config) -> Iterator[ConfigDict]:
    """Yields every dataloader's config, a validation loop's bank_dataloader too."""
    for stage in ("train", "val", "test"):
        if cfg.get(f"{stage}_dataloader"):
            yield cfg[f"{stage}_dataloader"]
        bank = (cfg.get(f"{stage}_cfg") or {}).get("bank_dataloader")
        if bank:
            yield bank


def _move_evaluators(cfg: Config, root: str) -> None:
    """Lets evaluators read below `root` what they read below the config's `data_root`."""
    old = cfg.get("data_root")
    for stage in ("val", "test"):
        evaluators = cfg.get(f"{stage}_evaluator") or []
        for evaluator in [evaluators] if isinstance(evaluators, dict) else evaluators:
            for key, value in evaluator.items():
                if old and isinstance(value, str) and value.startswith(old):
                    evaluator[key] = os.path.join(root, value[len(old) :].lstrip("/"))


def _parameter(data: ConfigDict, name: str) -> inspect.Parameter | None:
    """Returns the dataset's parameter `name`, its own or a base class's that gets **kwargs.

    BaseDataset's do not count: every dataset inherits its data_root, also one that reads none.
    """
    kind = DATASETS.get(data.type) if isinstance(data.type, str) else data.type
    for cls in inspect.getmro(kind) if inspect.isclass(kind) else ():
        parameters = inspect.signature(vars(cls).get("__init__", cls)).parameters
        if cls.__name__ == "BaseDataset":
            return None
        if name in parameters:
            return parameters[name]
        if not any(value.kind is value.VAR_KEYWORD for value in parameters.values()):
            return None
    return None
