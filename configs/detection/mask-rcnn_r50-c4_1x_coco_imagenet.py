# Mask R-CNN, ResNet-50 C4, COCO 2017, 12 epochs: from supervised ImageNet weights.
# Source:   mask-rcnn_r50-c4_1x_coco.py, of which only the start differs
# Command:  bash tools/transfer.sh TORCHVISION_WEIGHTS det configs/detection/mask-rcnn_r50-c4_1x_coco_imagenet.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "mask-rcnn_r50-c4_1x_coco.py"

# torchvision's file: its keys have no prefix.
model = dict(
    backbone=dict(init_cfg=dict(prefix=None)),
    roi_head=dict(shared_head=dict(init_cfg=dict(prefix=None))),
)
