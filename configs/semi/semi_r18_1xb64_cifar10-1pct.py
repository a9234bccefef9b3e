# ResNet-18 for small images fine-tuned on 1 % of CIFAR-10's labels, 60 epochs.
# Source:   SimCLR, arXiv 2002.05709, B.5: Nesterov, lr 0.05 * batch / 256, no weight decay, crop and flip
# Command:  python tools/train.py configs/semi/semi_r18_1xb64_cifar10-1pct.py --data-root data/cifar10 --cfg-options pretrained=CKPT
# Hardware: 1 GPU. Hours: not yet run
# Expected: not yet run
_base_ = [
    "mmpretrain::_base_/schedules/cifar10_bs128.py",
    "mmpretrain::_base_/default_runtime.py",
    "../_base_/cifar10_classes.py",
    "../_base_/pretrained_backbone.py",
]

epochs = 60

train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True, type="LabelledShare", percent=1, dataset=_base_.train_dataloader.dataset
    ),
)
optim_wrapper = dict(optimizer=dict(lr=0.0125, nesterov=True, weight_decay=0.0))
param_scheduler = dict(
    _delete_=True, type="CosineAnnealingLR", T_max=epochs, by_epoch=True, convert_to_iter_based=True
)
train_cfg = dict(max_epochs=epochs, val_interval=10)
