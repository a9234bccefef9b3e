# Faster R-CNN, EfficientNet-B0 FPN, a small set in COCO format.
# Source:   mmdet's Faster R-CNN by way of faster-rcnn_r18-fpn_small.py; the values are ours
# Command:  xmoco transfer RUN/backbone.pth det configs/detection/faster-rcnn_efficientnet-b0-fpn_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model EfficientNet:b0
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = "faster-rcnn_r18-fpn_small.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="EfficientNet",
        arch="b0",
        out_indices=(2, 3, 4, 6),
        norm_cfg=dict(type="BN", requires_grad=True, eps=1e-3, momentum=0.01),
        norm_eval=False,
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
    neck=dict(in_channels=[24, 40, 112, 1280]),
)
