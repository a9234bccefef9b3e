# UPerNet, ResNet-50, ADE20K, 160,000 iterations: from scratch.
# Source:   upernet_r50_ade20k.py, of which only the start differs
# Command:  bash tools/transfer.sh scratch seg configs/segmentation/upernet_r50_ade20k_scratch.py --gpus 4
# Hardware: 4 GPUs with 4 images each. Hours: not measured
# Expected: not yet run
_base_ = "upernet_r50_ade20k.py"

model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
