# FCN, ResNet-50 with output stride 16 and dilation 6 in the head, VOC 2012, 30,000 iterations: from scratch.
# Source:   fcn-d6_r50-d16_voc12aug.py, of which only the start differs
# Command:  bash tools/transfer.sh scratch seg configs/segmentation/fcn-d6_r50-d16_voc12aug_scratch.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "fcn-d6_r50-d16_voc12aug.py"

model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
