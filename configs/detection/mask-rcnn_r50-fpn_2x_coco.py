# Mask R-CNN, ResNet-50 FPN, COCO 2017, 24 epochs.
# Source:   mmdet's config for a MoCo v2 backbone
# Command:  bash tools/transfer.sh CKPT det configs/detection/mask-rcnn_r50-fpn_2x_coco.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = [
    "mmdet::selfsup_pretrain/mask-rcnn_r50-mocov2-pre_fpn_ms-2x_coco.py",
    "../_base_/pretrained_backbone.py",
]

# The host freezes the stem. A stem that was drawn at random must learn, so here none is frozen.
model = dict(backbone=dict(frozen_stages=-1, init_cfg=dict(checkpoint="", prefix="backbone.")))
