# Linear classifier on a frozen ResNet-50, ImageNet-1K, 100 epochs.
# Source:   mmpretrain's MoCo v2 benchmark, settings of arXiv 1911.05722 (lr 30, no weight decay)
# Command:  bash tools/dist_train.sh configs/linear/linear_r50_8xb32_in1k.py 8 --cfg-options pretrained=CKPT
# Hardware: 8 GPUs. Hours: not yet run
# Expected: not yet run. mmpretrain's MoCo v2, 200 epochs: top-1 67.5
_base_ = [
    "mmpretrain::mocov2/benchmarks/resnet50_8xb32-linear-steplr-100e_in1k.py",
    "../_base_/pretrained_backbone.py",
]

# Frozen stages are in eval mode already; this holds whatever becomes of that.
model = dict(backbone=dict(norm_eval=True))
