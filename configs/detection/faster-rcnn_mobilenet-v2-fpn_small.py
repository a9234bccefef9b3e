# Faster R-CNN, MobileNetV2 FPN, a small set in COCO format.
# Source:   mmdet's Faster R-CNN by way of faster-rcnn_r18-fpn_small.py; the values are ours
# Command:  xmoco transfer RUN/backbone.pth det configs/detection/faster-rcnn_mobilenet-v2-fpn_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model MobileNetV2
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = "faster-rcnn_r18-fpn_small.py"

model = dict(
    # mmpretrain's, whose names ImageNet's weights have: mmdet's own has others.
    backbone=dict(
        _delete_=True,
        type="mmpretrain.MobileNetV2",
        out_indices=(1, 2, 4, 7),
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
    neck=dict(in_channels=[24, 32, 96, 1280]),
)
