# XMoCo on patches of the photographs in scikit-image's wheel: a run to look at, on two CPU cores.
# Source:   MoCo v2 views (arXiv 2003.04297) for small images, half-width ResNet-18; values are ours
# Command:  python tools/train.py configs/demo/xmoco_r18_1xb128_patches.py   (make demo)
# Hardware: 2 CPU cores. Hours: 0.1
# Expected: see docs/lab/results.md
_base_ = [
    "mmpretrain::_base_/default_runtime.py",
    "../_base_/xmoco_runtime.py",
    "../_base_/small_views.py",
]

epochs = 16

data_preprocessor = dict(
    type="SelfSupDataPreprocessor",
    mean=[123.675, 116.28, 103.53],
    std=[58.395, 57.12, 57.375],
    to_rgb=True,
)
model = dict(
    type="XMoCo",
    queue_len=1024,
    feat_dim=64,
    momentum=0.01,  # m = 0.99: a short run needs a key encoder that follows
    exclude_unfilled=True,
    data_preprocessor=data_preprocessor,
    # Half the channels of ResNet-18: a quarter of the work.
    backbone=dict(type="ResNet", depth=18, base_channels=32, stem_channels=32),
    neck=dict(type="MoCoV2Neck", in_channels=256, hid_channels=256, out_channels=64),
    head=dict(
        type="XMoCoHead",
        temperature=0.2,
        consistency=dict(loss_weight=1.0),
        uniformity=dict(loss_weight=0.1),
    ),
)

view_pipeline = [
    dict(type="RandomResizedCrop", scale=40, crop_ratio_range=(0.2, 1.0)),
    *_base_.small_view_changes,
]
train_dataloader = dict(
    batch_size=128,
    num_workers=1,
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="PhotoPatches",
        split="train",
        pipeline=[
            dict(type="MultiView", num_views=2, transforms=[view_pipeline]),
            dict(type="PackInputs"),
        ],
    ),
)
optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.06, momentum=0.9, weight_decay=1e-4))
param_scheduler = [
    dict(type="CosineAnnealingLR", T_max=epochs, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=4)
default_hooks = dict(
    logger=dict(interval=31),
    checkpoint=dict(interval=4, max_keep_ckpts=2, save_best="accuracy/top1", rule="greater"),
)
auto_scale_lr = dict(base_batch_size=128)
randomness = dict(seed=0)

knn_dataloader = dict(
    batch_size=256,
    num_workers=1,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(type="PhotoPatches", split="train", pipeline=[dict(type="PackInputs")]),
)
val_dataloader = {**knn_dataloader, "dataset": {**knn_dataloader["dataset"], "split": "test"}}
val_evaluator = dict(type="Accuracy", topk=(1,))
val_cfg = dict(type="KNNValLoop", bank_dataloader=knn_dataloader, k=20, temperature=0.07)

custom_hooks = [*_base_.custom_hooks, dict(type="RunSummaryHook")]
