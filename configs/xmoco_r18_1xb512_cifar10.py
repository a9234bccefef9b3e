# XMoCo, ResNet-18 for small images, CIFAR-10, 200 epochs on one GPU, kNN every 10 epochs.
# Source:   settings of FAIR's CIFAR notebook for MoCo; terms: our reading of arXiv 2206.04676
# Command:  python tools/train.py configs/xmoco_r18_1xb512_cifar10.py --data-root data/cifar10
#           --data-root holds train.npz and test.npz (images uint8 (N, 32, 32, 3) RGB, labels);
#           from CIFAR-10's Python files: python tools/cifar10_to_npz.py FOLDER data/cifar10
# Hardware: 1 GPU. Hours: not yet run
# Expected: not yet run. MoCo itself: kNN 82.6 (FAIR's notebook), 83.8 at batch 128 (lightly)
_base_ = [
    "mmpretrain::_base_/default_runtime.py",
    "_base_/xmoco_runtime.py",
    "_base_/small_views.py",
]

data_preprocessor = dict(
    type="SelfSupDataPreprocessor",
    mean=[125.307, 122.961, 113.8575],
    std=[51.5865, 50.847, 51.255],
    to_rgb=True,
)
model = dict(
    type="XMoCo",
    queue_len=4096,
    feat_dim=128,
    momentum=0.01,  # m = 0.99
    data_preprocessor=data_preprocessor,
    backbone=dict(
        type="ResNet_CIFAR",
        depth=18,
        norm_cfg=dict(type="SplitBN", num_splits=8),
    ),
    neck=dict(type="LinearNeck", in_channels=512, out_channels=128, gap_dim=2, norm_cfg=None),
    head=dict(
        type="XMoCoHead",
        temperature=0.1,
        consistency=dict(temperature=0.1, loss_weight=1.0),
        uniformity=dict(temperature=0.1, loss_weight=0.1),
    ),
)

view_pipeline = [
    dict(type="RandomResizedCrop", scale=32, crop_ratio_range=(0.08, 1.0), backend="pillow"),
    *_base_.small_view_changes,
]
train_dataloader = dict(
    batch_size=512,
    num_workers=8,
    drop_last=True,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=True),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="NpzImages",
        data_root="data/cifar10",
        split="train",
        pipeline=[
            dict(type="MultiView", num_views=2, transforms=[view_pipeline]),
            dict(type="PackInputs"),
        ],
    ),
)

optim_wrapper = dict(optimizer=dict(type="SGD", lr=0.06, momentum=0.9, weight_decay=5e-4))
param_scheduler = [dict(type="CosineAnnealingLR", T_max=200, by_epoch=True, begin=0, end=200)]
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=200, val_interval=10)
auto_scale_lr = dict(base_batch_size=512)
default_hooks = dict(
    checkpoint=dict(interval=10, max_keep_ckpts=3, save_best="accuracy/top1", rule="greater")
)

# kNN of the test images among the training images, with the current weights.
knn_dataloader = dict(
    batch_size=512,
    num_workers=4,
    persistent_workers=True,
    sampler=dict(type="DefaultSampler", shuffle=False),
    collate_fn=dict(type="default_collate"),
    dataset=dict(
        type="NpzImages",
        data_root="data/cifar10",
        split="train",
        pipeline=[dict(type="PackInputs")],
    ),
)
val_dataloader = {
    **knn_dataloader,
    "dataset": {**knn_dataloader["dataset"], "split": "test", "test_mode": True},
}
val_evaluator = dict(type="Accuracy", topk=(1,))
val_cfg = dict(type="KNNValLoop", bank_dataloader=knn_dataloader, k=200, temperature=0.1)
