# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Options that shrink a fine-tuning to seconds."""

from pathlib import Path

ROOT = Path(__file__).parents[2]
DETECTOR = "configs/detection/faster-rcnn_r18-fpn_small.py"
SEGMENTOR = "configs/segmentation/fcn_r18_small.py"
WIDTH = 16  # a quarter of ResNet-18's: a sixteenth of the work
NARROW = [f"model.backbone.base_channels={WIDTH}", f"model.backbone.stem_channels={WIDTH}"]
NO_WORKERS = [f"{s}_dataloader.num_workers=0" for s in ("train", "val", "test")]
NARROW_FPN = [*NARROW, f"model.neck.in_channels=[{WIDTH},{2 * WIDTH},{4 * WIDTH},{8 * WIDTH}]"]
SMALL_DETECTOR = [
    *NARROW_FPN,
    *NO_WORKERS,
    "model.roi_head.bbox_head.fc_out_channels=64",
    "train_dataloader.dataset.pipeline.2.scale=(96,96)",
    *[f"{stage}_dataloader.dataset.pipeline.1.scale=(96,96)" for stage in ("val", "test")],
]
# Enough for two shapes an image, and a third of the work.
FEW_PROPOSALS = [
    *[f"model.train_cfg.rpn_proposal.{part}" for part in ("nms_pre=100", "max_per_img=50")],
    *[f"model.test_cfg.rpn.{part}" for part in ("nms_pre=100", "max_per_img=50")],
    "model.train_cfg.rcnn.sampler.num=64",
]
NARROW_FCN = [
    *NARROW,
    f"model.decode_head.in_channels={8 * WIDTH}",
    f"model.auxiliary_head.in_channels={4 * WIDTH}",
]
SMALL_CROPS = [
    "model.data_preprocessor.size=(96,96)",
    "train_dataloader.dataset.pipeline.2.scale=(96,96)",
    "train_dataloader.dataset.pipeline.3.crop_size=(96,96)",
    *[f"{stage}_dataloader.dataset.pipeline.1.scale=(96,96)" for stage in ("val", "test")],
]
