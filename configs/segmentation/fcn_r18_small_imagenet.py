# FCN, ResNet-18 with output stride 16, for a small set in mmseg's layout: from supervised ImageNet weights.
# Source:   fcn_r18_small.py, of which only the start differs
# Command:  bash tools/transfer.sh TORCHVISION_WEIGHTS seg configs/segmentation/fcn_r18_small_imagenet.py --data-root FOLDER
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/results.md
# Expected: depends on the set
_base_ = "fcn_r18_small.py"

# torchvision's file: its keys have no prefix.
model = dict(backbone=dict(init_cfg=dict(prefix=None)))
