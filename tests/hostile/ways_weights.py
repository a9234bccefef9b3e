# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where tools take weights."""

from . import kinds
from .scene import tiny_config
from .way import RUN, Way, embed, evaluate, export, fine, select, setting

PRETRAINED = "dict(type='Pretrained',checkpoint='{file}')"
WEIGHTS = [
    Way("embed", "checkpoint", kinds.WEIGHTS, embed, "w.pth"),
    Way(  # read by embed's code
        "select_images",
        "checkpoint",
        {"a pickle with code": kinds.WEIGHTS["a pickle with code"]},
        select,
        "w.pth",
    ),
    Way("evaluate", "checkpoint", kinds.WEIGHTS, evaluate, "w.pth"),
    Way("export_backbone", "checkpoint", kinds.WEIGHTS, export("mmpretrain"), "w.pth"),
    Way(
        "pretrain",
        "--init",
        kinds.WEIGHTS,
        lambda s, f: ["--data", s.images, "--out", s.here / "run", "--init", f, *RUN],
        "w.pth",
    ),
    Way(
        "pretrain",
        "--teacher",
        kinds.WEIGHTS,
        lambda s, f: ["--data", s.images, "--out", s.here / "run", "--teacher", f, *RUN],
        "w.pth",
    ),
    Way("train", "--resume", kinds.WEIGHTS, lambda s, f: [s.config, "--resume", f], "w.pth"),
    *(
        Way("export_backbone", f"--to {to}", kinds.WEIGHTS, export(to), "w.pth")
        for to in ("torchvision", "safetensors")
    ),
    Way(
        "export_backbone",
        "--into",
        kinds.WEIGHTS,
        lambda s, f: [s.weights, s.here / "out.pth", "--into", f],
        "w.pth",
    ),
    Way("train", "model.pretrained", kinds.WEIGHTS, setting("model.pretrained={file}"), "w.pth"),
    Way("train", "load_from", kinds.WEIGHTS, setting("load_from={file}"), "w.pth"),
    Way(
        "train",
        "model.init_cfg",
        kinds.WEIGHTS,
        lambda s, f: [
            s.config,
            "--cfg-options",
            "model.init_cfg.type=Pretrained",
            f"model.init_cfg.checkpoint={f}",
        ],
        "w.pth",
    ),
    Way(
        "train",
        "model.backbone.init_cfg",
        kinds.WEIGHTS,
        lambda s, f: [tiny_config(s, init=f"[{PRETRAINED.format(file=f)}]")],
        "w.pth",
    ),
    Way(
        "train",
        "last_checkpoint",
        kinds.WEIGHTS,
        lambda s, f: [s.config, "--resume", "--work-dir", s.pointing_at(f)],
        "work/epoch_1.pth",
    ),
    Way("test", "checkpoint", kinds.WEIGHTS, lambda s, f: [s.knn_config, f], "w.pth"),
    Way("eval_knn", "checkpoint", kinds.WEIGHTS, lambda s, f: [s.knn_config, f], "w.pth"),
    Way("transfer", "checkpoint", kinds.WEIGHTS, fine("det"), "w.pth", needs="mmdet"),
    Way("transfer", "checkpoint (seg)", kinds.WEIGHTS, fine("seg"), "w.pth", needs="mmseg"),
    Way("few_labels", "checkpoint", kinds.WEIGHTS, fine("det"), "w.pth", needs="mmdet"),
    Way(
        "few_labels",
        "--imagenet",
        kinds.WEIGHTS,
        fine("det", "scratch", "--imagenet", lambda s, f: f),
        "w.pth",
        needs="mmdet",
    ),
    Way(
        "compare",
        "--starts",
        kinds.WEIGHTS,
        lambda s, f: [*fine("det")(s, f)[1:], "--starts", f"scratch,a={f}"],
        "w.pth",
        needs="mmdet",
    ),
]
