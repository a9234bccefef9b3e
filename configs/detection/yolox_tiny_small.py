# YOLOX-tiny, CSPDarknet, a small set in COCO format.
# Source:   mmdet's YOLOX-tiny by way of yolox_s_small.py
# Command:  xmoco transfer RUN/backbone.pth det configs/detection/yolox_tiny_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model mmdet.CSPDarknet:tiny
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = "yolox_s_small.py"

model = dict(
    backbone=dict(widen_factor=0.375),
    neck=dict(in_channels=[96, 192, 384], out_channels=96),
    bbox_head=dict(in_channels=96, feat_channels=96),
)
