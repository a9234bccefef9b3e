# FCN, ResNet-50 with output stride 8, Cityscapes, 90,000 iterations: from supervised ImageNet weights.
# Source:   fcn_r50-d8_cityscapes.py, of which only the start differs
# Command:  bash tools/transfer.sh TORCHVISION_WEIGHTS seg configs/segmentation/fcn_r50-d8_cityscapes_imagenet.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "fcn_r50-d8_cityscapes.py"

# torchvision's file: its keys have no prefix.
model = dict(backbone=dict(init_cfg=dict(prefix=None)))
