# FCN, ResNet-50 with output stride 8, Cityscapes, 90,000 iterations: from scratch.
# Source:   fcn_r50-d8_cityscapes.py, of which only the start differs
# Command:  bash tools/transfer.sh scratch seg configs/segmentation/fcn_r50-d8_cityscapes_scratch.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "fcn_r50-d8_cityscapes.py"

model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
