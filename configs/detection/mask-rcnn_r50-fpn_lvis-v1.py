# Mask R-CNN, ResNet-50 FPN, LVIS v1, 12 epochs; the host asks for the package lvis.
# Source:   mmdet's LVIS v1 config
# Command:  bash tools/transfer.sh CKPT det configs/detection/mask-rcnn_r50-fpn_lvis-v1.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = [
    "mmdet::lvis/mask-rcnn_r50_fpn_sample1e-3_ms-1x_lvis-v1.py",
    "../_base_/pretrained_backbone.py",
]

model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=dict(type="SyncBN"),
        norm_eval=False,
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    )
)
