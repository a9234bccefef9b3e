# RTMDet-m, CSPNeXt, a small set in COCO format.
# Source:   mmdet's RTMDet-m by way of rtmdet_s_small.py
# Command:  xmoco transfer RUN/backbone.pth det configs/detection/rtmdet_m_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model mmdet.CSPNeXt:m
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = "rtmdet_s_small.py"

model = dict(
    backbone=dict(deepen_factor=0.67, widen_factor=0.75),
    neck=dict(in_channels=[192, 384, 768], out_channels=192, num_csp_blocks=2),
    bbox_head=dict(in_channels=192, feat_channels=192, exp_on_reg=True),
)
