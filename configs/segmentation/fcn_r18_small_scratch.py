# FCN, ResNet-18 with output stride 16, for a small set in mmseg's layout: from scratch.
# Source:   fcn_r18_small.py, of which only the start differs
# Command:  bash tools/transfer.sh scratch seg configs/segmentation/fcn_r18_small_scratch.py --data-root FOLDER
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/results.md
# Expected: depends on the set
_base_ = "fcn_r18_small.py"

model = dict(backbone=dict(init_cfg=None))
custom_hooks = []
