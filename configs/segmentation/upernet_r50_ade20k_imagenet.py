# UPerNet, ResNet-50, ADE20K, 160,000 iterations: from supervised ImageNet weights.
# Source:   upernet_r50_ade20k.py, of which only the start differs
# Command:  bash tools/transfer.sh TORCHVISION_WEIGHTS seg configs/segmentation/upernet_r50_ade20k_imagenet.py --gpus 4
# Hardware: 4 GPUs with 4 images each. Hours: not measured
# Expected: not yet run
_base_ = "upernet_r50_ade20k.py"

# torchvision's file: its keys have no prefix.
model = dict(backbone=dict(init_cfg=dict(prefix=None)))
