# Mask R-CNN, ResNet-50 FPN, Cityscapes instances, 8 epochs of the set repeated 8 times: from scratch.
# Source:   mask-rcnn_r50-fpn_cityscapes.py, of which only the start differs
# Command:  bash tools/transfer.sh scratch det configs/detection/mask-rcnn_r50-fpn_cityscapes_scratch.py --gpus 8
# Hardware: 8 GPUs with 1 image each. Hours: not measured
# Expected: not yet run
_base_ = "mask-rcnn_r50-fpn_cityscapes.py"

model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
