# XMoCo on 8,000 images of CIFAR-10 for five epochs: what a CPU carries, to compare with MoCo v2.
# Source:   the CIFAR-10 config with MoCo v2's neck, temperature and crops (arXiv 2003.04297), and a
#           ResNet-18 of quarter width at half resolution; values are ours
# Command:  python tools/train.py configs/demo/xmoco_r18_1xb64_cifar10-short.py --data-root data/cifar10
# Hardware: 1 CPU core. Hours: 0.1
# Expected: see docs/lab/evaluation.md
_base_ = "../xmoco_r18_1xb512_cifar10.py"

epochs = 5

model = dict(
    queue_len=1024,
    feat_dim=64,
    exclude_unfilled=True,
    backbone=dict(
        base_channels=16,
        stem_channels=16,
        strides=(2, 2, 2, 2),
        norm_cfg=dict(_delete_=True, type="BN"),
    ),
    neck=dict(_delete_=True, type="MoCoV2Neck", in_channels=128, hid_channels=128, out_channels=64),
    head=dict(temperature=0.2, consistency=dict(temperature=0.2), uniformity=dict(temperature=0.2)),
)
view_pipeline = [
    dict(type="RandomResizedCrop", scale=32, crop_ratio_range=(0.2, 1.0), backend="pillow"),
    *_base_.view_pipeline[1:],
]
train_dataloader = dict(
    batch_size=64,
    num_workers=1,
    dataset=dict(
        indices=8000,
        pipeline=[
            dict(type="MultiView", num_views=2, transforms=[view_pipeline]),
            dict(type="PackInputs"),
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(weight_decay=1e-4))
param_scheduler = [
    dict(type="CosineAnnealingLR", T_max=epochs, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=epochs, val_interval=1)
# Every epoch is kept, so that one can look back at what changed.
default_hooks = dict(logger=dict(interval=25), checkpoint=dict(interval=1, max_keep_ckpts=-1))
auto_scale_lr = dict(base_batch_size=64)
randomness = dict(seed=0)

val_dataloader = dict(num_workers=1, dataset=dict(indices=1000))
val_cfg = dict(k=20, bank_dataloader=dict(num_workers=1, dataset=dict(indices=3000)))

custom_hooks = [*_base_.custom_hooks, dict(type="RunSummaryHook")]
