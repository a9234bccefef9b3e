# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The complete config of a run, from a config of this package and the choices."""

import copy
import unicodedata
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.device import get_device
from mmpretrain.registry import DATASETS

from .._config_scope import config_path
from ..data import labelled_sets, limit_pixels
from ..data.labelled_sets import file_pipeline, set_bit_depth, split_classes, test_folder
from ..untrusted import FolderError, folders_in, printable
from .backbones import Outputs, is_mocov3_vit
from .channel_config import taken, with_channels
from .channel_scan import ChannelPlan
from .chosen import Choices
from .errors import PretrainError
from .model_parts import chosen_backbone, preprocessor
from .start import add_start_hooks
from .tile_config import set_tiles
from .tiles import TileReading

FOLDER_CONFIG = "xmoco_r50_1xb64_folder.py"
VIT_CONFIG = "xmoco_v3_vit-s_16xb256.py"
SMALL_VIEWS = 128  # px; MoCo v2's blur, made for 224, leaves nothing to see in smaller views (ours)
CROP_AND_FLIP = dict(jitter_prob=0.0, grey_prob=0.0, blur_prob=0.0)
# What mmengine's Runner reads, and what the tools read; the rest of a config are its own variables.
RUNNER_KEYS = (
    *("default_scope", "custom_imports", "model", "data_preprocessor", "train_dataloader"),
    *("train_cfg", "optim_wrapper", "param_scheduler", "auto_scale_lr", "val_dataloader"),
    *("val_cfg", "val_evaluator", "default_hooks", "custom_hooks", "log_processor", "log_level"),
    *("visualizer", "env_cfg", "randomness", "load_from", "resume", "work_dir", "launcher"),
    "find_unused_parameters",
)


def base_config(model: str) -> str:
    """Name of the package's config that a run inherits from."""
    return VIT_CONFIG if is_mocov3_vit(model) else FOLDER_CONFIG


def model_config(choices: Choices, outputs: Outputs) -> dict[str, Any]:
    """The config of the algorithm; ``choices`` may lack what depends on the set's size."""
    cfg = Config.fromfile(config_path(base_config(choices.model)))
    model = copy.deepcopy(cfg.model.to_dict())
    model["data_preprocessor"] = preprocessor(cfg, choices)
    if is_mocov3_vit(choices.model):
        model["backbone"] |= {"img_size": choices.image_size, **taken(choices)}
        return model
    model["backbone"] = chosen_backbone(choices, choices.splits)
    model["queue_len"] = max(choices.queue_len, 2)
    model["momentum"] = choices.momentum or 0.01
    for part in (model["head"], model["head"]["consistency"], model["head"]["uniformity"]):
        part["temperature"] = choices.temperature
    if choices.channels_last:
        model["channels_last"] = True
    model["neck"] |= dict(
        in_channels=outputs.channels,
        hid_channels=outputs.channels,
        with_avg_pool=outputs.is_map,
    )
    return model


def run_config(
    choices: Choices,
    outputs: Outputs,
    folder: Path,
    labels: str | None = None,
    seed: int = 0,
    amp: bool = False,
    processes: int = 1,
    load_from: str | None = None,
    max_pixels: int | None = None,
    labels_trained_on: int | str = 0,
    keep_going: bool = False,
    bit_depth: int = 16,
    tiles: TileReading | None = None,
    channels: ChannelPlan | None = None,
    dataset: dict[str, Any] | None = None,
) -> Config:
    """Everything that ``xmoco train`` needs, with nothing left to inherit.

    Args:
        choices: All of them.
        outputs: Of the backbone.
        folder: Of the run; holds ``files.txt``.
        labels: Folder of labelled images to run kNN on, see :func:`knn_sets`.
        seed: Of all that is drawn.
        amp: Whether an accelerator computes in bfloat16.
        processes: That train together.
        load_from: Checkpoint of the first weights.
        max_pixels: Of an image that is read; None for the usual limit.
        labels_trained_on: Labelled images that are trained on too; a text where it is a bound.
        keep_going: Whether a run that becomes worse than good weights is trained to its end.
        bit_depth: That 16-bit grey images are read with, in training and for kNN.
        tiles: How tiles of the pictures are read; None to train on whole images.
        channels: How pictures of other channels are read; None for pictures in colour.
        dataset: The images, where they are no list in ``files.txt`` but a set of shards.
    """
    cfg = Config.fromfile(config_path(base_config(choices.model)))
    model = model_config(choices, outputs)
    cfg.data_preprocessor = model.pop("data_preprocessor")  # which the Runner hands the model
    cfg.model = model
    cfg.work_dir = str(folder)
    cfg.launcher = "none"
    cfg.load_from = load_from
    cfg.randomness = dict(seed=seed)
    # Twenty times a run something is kept, judged and exported, and at its end.
    interval = max(choices.epochs // 20, 1)
    cfg.train_dataloader = dict(
        batch_size=choices.batch_size,
        num_workers=choices.workers,
        persistent_workers=choices.workers > 0,
        pin_memory=get_device() != "cpu",
        drop_last=True,
        sampler=dict(type="ShardSampler" if dataset else "DefaultSampler", shuffle=True),
        collate_fn=dict(type="default_collate"),
        dataset=dict(
            dataset or dict(type="ListedImages", ann_file=str(folder / "files.txt")),
            pipeline=_train_pipeline(choices),
        ),
    )
    if tiles is not None:
        set_tiles(cfg.train_dataloader, tiles, folder)
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=choices.epochs)
    _set_schedule(cfg, choices)
    cfg.auto_scale_lr = dict(base_batch_size=choices.batch_size * processes)
    if choices.precision == "bfloat16":
        cfg.optim_wrapper |= dict(type="CpuAmpOptimWrapper")
    elif amp:
        # The range of float32, so that nothing has to be scaled.
        cfg.optim_wrapper |= dict(
            type="AmpOptimWrapper", dtype="bfloat16", loss_scale=dict(enabled=False)
        )
    cfg.default_hooks.logger.interval = 10
    cfg.default_hooks.checkpoint = dict(
        type="CheckpointHook", interval=interval, max_keep_ckpts=3, save_last=True
    )
    cfg.custom_hooks = [
        dict(type="OpeningHook", path=str(folder / "opening.txt")),
        *cfg.custom_hooks,
        dict(type="FirstBatchHook"),
    ]
    next(h for h in cfg.custom_hooks if h.type == "PreflightHook").given = choices.given
    good = load_from is not None
    add_start_hooks(cfg.custom_hooks, good, labels_trained_on, keep_going, interval)
    cfg.visualizer = dict(
        type="UniversalVisualizer",
        vis_backends=[
            dict(type="LocalVisBackend"),
            dict(type="JsonLinesVisBackend"),
        ],
    )
    if labels is not None:
        cfg.train_cfg.val_interval = interval
        cfg.custom_hooks.append(dict(type="RunSummaryHook"))
        _set_knn(cfg, labels, choices)
    for part in ("train_dataloader", "val_dataloader", "val_cfg"):
        limit_pixels(cfg.get(part), max_pixels)
        set_bit_depth(cfg.get(part), bit_depth)
    settings = {key: cfg[key] for key in RUNNER_KEYS if key in cfg}
    return Config(with_channels(Config(settings).to_dict(), channels) if channels else settings)


def knn_sets(labels: str, size: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Configs of the bank and of the queries of kNN.

    A folder with ``train/`` and ``val/`` gives one each; a folder with a folder for each class is
    split in halves, class by class, by the hash of the names.

    Args:
        labels: The folder.
        size: Side of the centre crop, in pixels.
    """
    if (Path(labels) / "train").is_dir():
        sets = labelled_sets(labels, size)
        return sets.train, sets.test
    data = dict(type="LabelledFolder", data_root=labels, pipeline=file_pipeline(size))
    half = dict(type="LabelledShare", dataset=data, percent=50)
    return half, {**half, "rest": True}


def unfit_for_configs(folder: Path) -> str | None:
    """Why a folder's path cannot stand in a config, in a sentence; None where it can."""
    path = str(folder.resolve())
    if any(unicodedata.category(sign) in ("Cc", "Zl", "Zp") for sign in path):
        return f"{printable(path)} holds a line break or a control character. Name another folder."
    if "{{" in path:
        return f"{path} holds {{{{, in whose place mmengine puts something else. Name another."
    return None


def check_labels(labels: str) -> str | None:
    """Why a folder cannot serve as ``--labels``, in a sentence; None where it can."""
    folder = Path(labels).expanduser()
    if not folder.is_dir():
        return f"--labels {labels}: there is no such folder (looked from {Path.cwd()})."
    split = (folder / "train").is_dir()
    test = test_folder(folder) if split else None
    if split and test is None:
        return (
            f"--labels {labels}: it holds train/ and neither val/ nor test/. Name "
            f"{folder / 'train'} to have it split in halves."
        )
    root = folder / "train" if split else folder
    try:
        classes = split_classes(root, test) if test else folders_in(root)
    except (FolderError, ValueError) as error:
        return f"--labels {labels}: {error}."
    if len(classes) < 2:
        return (
            f"--labels {labels}: {root} holds {len(classes)} folders; kNN needs a folder of image "
            "files for each of at least two classes, there or in train/ and val/."
        )
    return None


def _train_pipeline(choices: Choices) -> list[dict]:
    view: dict[str, Any] = dict(
        recipe="mocov3" if is_mocov3_vit(choices.model) else "mocov2",
        size=choices.image_size,
        crop_scale=tuple(choices.crop_scale),
    )
    if choices.image_size < SMALL_VIEWS:
        view["blur_prob"] = 0.0
    views: dict[str, Any] | list[dict[str, Any]] = view
    if choices.key_view == "weak":
        views = [view, view | CROP_AND_FLIP]
    return [
        dict(type="LoadImageOrSkip"),
        dict(type="TwoViews", views=views),
        dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "skipped")),
    ]


def _set_schedule(cfg: Config, choices: Choices) -> None:
    epochs = choices.epochs
    if base_config(choices.model) == VIT_CONFIG:
        # MoCo v3's: AdamW, warm-up, its rate for a batch of 4096, scaled linearly.
        cfg.optim_wrapper = cfg.optim_wrapper.to_dict() | {"type": "OptimWrapper"}
        cfg.optim_wrapper.pop("loss_scale", None)
        cfg.optim_wrapper.optimizer.lr = choices.lr
        warm = max(round(0.13 * epochs), 1)  # 40 of 300
        cfg.param_scheduler = [
            dict(type="LinearLR", start_factor=1e-4, by_epoch=True, begin=0, end=warm)
            | dict(convert_to_iter_based=True),
        ]
        if epochs > warm:
            cfg.param_scheduler.append(
                dict(type="CosineAnnealingLR", T_max=epochs - warm, by_epoch=True, begin=warm)
                | dict(end=epochs, convert_to_iter_based=True)
            )
    else:
        cfg.optim_wrapper.optimizer.lr = choices.lr
        if choices.optimizer == "AdamW":
            cfg.optim_wrapper.optimizer = dict(type="AdamW", lr=choices.lr, weight_decay=0.05)
        cosine: dict[str, Any] = dict(
            type="CosineAnnealingLR", T_max=epochs, by_epoch=True, convert_to_iter_based=True
        )
        cfg.param_scheduler = [cosine]
        if choices.warmup:
            risen = choices.warmup * epochs  # a share of an epoch too: the host counts iterations
            rise = dict(type="LinearLR", start_factor=0.01, by_epoch=True, begin=0, end=risen)
            cosine |= dict(T_max=epochs - risen, begin=risen, end=epochs)
            cfg.param_scheduler = [rise | dict(convert_to_iter_based=True), cosine]


def _set_knn(cfg: Config, labels: str, choices: Choices) -> None:
    bank, queries = knn_sets(str(Path(labels).expanduser().resolve()), choices.image_size)
    images = len(DATASETS.build(bank))
    if not images:
        raise PretrainError(f"--labels {labels}: no labelled image is left for kNN to compare with")
    loader = dict(
        batch_size=64,
        num_workers=min(choices.workers, 4),
        persistent_workers=choices.workers > 0,
        sampler=dict(type="DefaultSampler", shuffle=False),
        collate_fn=dict(type="default_collate"),
    )
    cfg.val_dataloader = dict(**loader, dataset=queries)
    cfg.val_evaluator = dict(type="Accuracy", topk=(1,))
    cfg.val_cfg = dict(
        type="KNNValLoop",
        bank_dataloader=dict(**copy.deepcopy(loader), dataset=bank),
        k=min(20, images),
    )
