# FCN, ResNet-50 with output stride 16 and dilation 6 in the head, VOC 2012, 30,000 iterations: from supervised ImageNet weights.
# Source:   fcn-d6_r50-d16_voc12aug.py, of which only the start differs
# Command:  bash tools/transfer.sh TORCHVISION_WEIGHTS seg configs/segmentation/fcn-d6_r50-d16_voc12aug_imagenet.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "fcn-d6_r50-d16_voc12aug.py"

# torchvision's file: its keys have no prefix.
model = dict(backbone=dict(init_cfg=dict(prefix=None)))
