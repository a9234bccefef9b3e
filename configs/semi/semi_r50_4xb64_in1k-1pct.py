# ResNet-50 fine-tuned on 1 % of ImageNet-1K's labels, 20 epochs.
# Source:   mmselfsup's semi-supervised benchmark, the one of its nine with lr 0.01 and the head's times 100
# Command:  bash tools/dist_train.sh configs/semi/semi_r50_4xb64_in1k-1pct.py 4 --cfg-options pretrained=CKPT
#           SimCLR's images instead of ours: train_dataloader.dataset.files=1percent.txt
# Hardware: 4 GPUs. Hours: not yet run
# Expected: not yet run
_base_ = [
    "mmpretrain::_base_/models/resnet50.py",
    "mmpretrain::_base_/datasets/imagenet_bs32_pil_resize.py",
    "mmpretrain::_base_/schedules/imagenet_sgd_steplr_100e.py",
    "mmpretrain::_base_/default_runtime.py",
    "../_base_/pretrained_backbone.py",
]

model = dict(
    backbone=dict(
        norm_cfg=dict(type="SyncBN", requires_grad=True),
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    )
)
train_dataloader = dict(
    batch_size=64,
    dataset=dict(
        _delete_=True, type="LabelledShare", percent=1, dataset=_base_.train_dataloader.dataset
    ),
)
optim_wrapper = dict(
    optimizer=dict(lr=0.01, weight_decay=5e-4),
    paramwise_cfg=dict(custom_keys={"head": dict(lr_mult=100)}),
)
param_scheduler = dict(
    _delete_=True, type="MultiStepLR", by_epoch=True, milestones=[12, 16], gamma=0.2
)
train_cfg = dict(max_epochs=20, val_interval=5)
default_hooks = dict(checkpoint=dict(interval=10))
