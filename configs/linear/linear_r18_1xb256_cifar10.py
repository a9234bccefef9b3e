# Linear classifier on a frozen ResNet-18 for small images, CIFAR-10, 100 epochs.
# Source:   protocol of arXiv 1911.05722; crop and flip: mmpretrain's CIFAR-10; lr and batch are ours
# Command:  python tools/train.py configs/linear/linear_r18_1xb256_cifar10.py --data-root data/cifar10 --cfg-options pretrained=CKPT
# Hardware: 1 GPU. Hours: not yet run
# Expected: not yet run for the full recipe; short runs: docs/lab/evaluation.md
_base_ = [
    "mmpretrain::_base_/schedules/cifar10_bs128.py",
    "mmpretrain::_base_/default_runtime.py",
    "../_base_/cifar10_classes.py",
    "../_base_/pretrained_backbone.py",
]

model = dict(backbone=dict(frozen_stages=4, norm_eval=True))
train_dataloader = dict(batch_size=256)
optim_wrapper = dict(optimizer=dict(lr=10.0, weight_decay=0.0))
param_scheduler = dict(
    _delete_=True, type="CosineAnnealingLR", T_max=100, by_epoch=True, convert_to_iter_based=True
)
train_cfg = dict(max_epochs=100, val_interval=10)
