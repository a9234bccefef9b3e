# Mask R-CNN, ResNet-50 FPN, LVIS v1, 12 epochs; the host asks for the package lvis: from scratch.
# Source:   mask-rcnn_r50-fpn_lvis-v1.py, of which only the start differs
# Command:  bash tools/transfer.sh scratch det configs/detection/mask-rcnn_r50-fpn_lvis-v1_scratch.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "mask-rcnn_r50-fpn_lvis-v1.py"

model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
