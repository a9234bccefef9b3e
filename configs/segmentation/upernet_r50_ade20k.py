# UPerNet, ResNet-50, ADE20K, 160,000 iterations.
# Source:   mmseg's config
# Command:  bash tools/transfer.sh CKPT seg configs/segmentation/upernet_r50_ade20k.py --gpus 4
# Hardware: 4 GPUs with 4 images each. Hours: not measured
# Expected: not yet run
_base_ = [
    "mmseg::upernet/upernet_r50_4xb4-160k_ade20k-512x512.py",
    "../_base_/pretrained_backbone.py",
]

model = dict(
    pretrained=None,
    backbone=dict(
        type="ResNet",  # the host's v1c has another stem
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
)
