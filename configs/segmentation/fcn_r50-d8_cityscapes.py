# FCN, ResNet-50 with output stride 8, Cityscapes, 90,000 iterations.
# Source:   schedule of MoCo (arXiv 1911.05722, appendix) on mmseg's model
# Command:  bash tools/transfer.sh CKPT seg configs/segmentation/fcn_r50-d8_cityscapes.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = [
    "mmseg::fcn/fcn_r50-d8_4xb2-40k_cityscapes-769x769.py",
    "../_base_/pretrained_backbone.py",
]

model = dict(
    pretrained=None,
    backbone=dict(
        type="ResNet",  # the host's v1c has another stem
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
train_cfg = dict(max_iters=90000, val_interval=90000)
param_scheduler = [
    dict(
        type="MultiStepLR",
        begin=0,
        end=90000,
        by_epoch=False,
        milestones=[63000, 81000],
        gamma=0.1,
    )
]
default_hooks = dict(checkpoint=dict(interval=90000))
