# Mask R-CNN, ResNet-50 FPN, Cityscapes instances, 8 epochs of the set repeated 8 times: from supervised ImageNet weights.
# Source:   mask-rcnn_r50-fpn_cityscapes.py, of which only the start differs
# Command:  bash tools/transfer.sh TORCHVISION_WEIGHTS det configs/detection/mask-rcnn_r50-fpn_cityscapes_imagenet.py --gpus 8
# Hardware: 8 GPUs with 1 image each. Hours: not measured
# Expected: not yet run
_base_ = "mask-rcnn_r50-fpn_cityscapes.py"

# torchvision's file: its keys have no prefix.
model = dict(backbone=dict(init_cfg=dict(prefix=None)))
