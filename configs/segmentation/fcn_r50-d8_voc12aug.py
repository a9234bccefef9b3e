# FCN, ResNet-50 with output stride 8, VOC 2012 train + aug, tested on val, 30,000 iterations.
# Source:   schedule of MoCo (arXiv 1911.05722, appendix) on mmseg's model; MoCo's own stride of 16
#           with dilation 6 in the head is fcn-d6_r50-d16_voc12aug.py beside this file
# Command:  bash tools/transfer.sh CKPT seg configs/segmentation/fcn_r50-d8_voc12aug.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run. MoCo v2 with another schedule (20,000 iterations): mIoU 67.55 (mmselfsup)
_base_ = [
    "mmseg::fcn/fcn_r50-d8_4xb4-20k_voc12aug-512x512.py",
    "../_base_/pretrained_backbone.py",
]

model = dict(
    pretrained=None,
    backbone=dict(
        type="ResNet",  # the host's v1c has another stem
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
)
train_dataloader = dict(batch_size=2)
optim_wrapper = dict(optimizer=dict(lr=0.003, weight_decay=1e-4))
train_cfg = dict(max_iters=30000, val_interval=30000)
param_scheduler = [
    dict(
        type="MultiStepLR",
        begin=0,
        end=30000,
        by_epoch=False,
        milestones=[21000, 27000],
        gamma=0.1,
    )
]
default_hooks = dict(checkpoint=dict(interval=30000))
