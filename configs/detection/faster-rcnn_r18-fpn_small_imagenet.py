# Faster R-CNN, ResNet-18 FPN, a small set in COCO format: from supervised ImageNet weights.
# Source:   faster-rcnn_r18-fpn_small.py, of which only the start differs
# Command:  bash tools/transfer.sh TORCHVISION_WEIGHTS det configs/detection/faster-rcnn_r18-fpn_small_imagenet.py --data-root FOLDER
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/results.md
# Expected: depends on the set
_base_ = "faster-rcnn_r18-fpn_small.py"

# torchvision's file: its keys have no prefix.
model = dict(backbone=dict(init_cfg=dict(prefix=None)))
