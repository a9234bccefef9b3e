# Mask R-CNN, ResNet-50 C4, COCO 2017, 24 epochs: from scratch.
# Source:   mask-rcnn_r50-c4_2x_coco.py, of which only the start differs
# Command:  bash tools/transfer.sh scratch det configs/detection/mask-rcnn_r50-c4_2x_coco_scratch.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "mask-rcnn_r50-c4_2x_coco.py"

model = dict(backbone=dict(init_cfg=None), roi_head=dict(shared_head=dict(init_cfg=None)))
custom_hooks = []
