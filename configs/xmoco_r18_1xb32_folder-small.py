# XMoCo, ResNet-18, views of 96 px, a folder of some hundred unlabelled images: on a laptop.
# Source:   settings of MoCo v2 (arXiv 2003.04297); size, rates and queue are ours
# Command:  python tools/train.py configs/xmoco_r18_1xb32_folder-small.py --data-root YOUR_FOLDER
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/results.md
# Expected: what it gives a detector and a segmentor: docs/lab/results.md
_base_ = ["xmoco_r50_1xb64_folder.py", "_base_/small_views.py"]

# The queue is shorter than the set, so that it holds no older key of an image of this batch.
model = dict(
    queue_len=64,
    momentum=0.01,  # m = 0.99: a short run needs a key encoder that follows
    # Blocks start as identities, as a detector's do: a short pretraining of a network that does not
    # is a worse start than none (docs/lab/results.md).
    backbone=dict(depth=18, norm_cfg=dict(num_splits=2), zero_init_residual=True),
    neck=dict(in_channels=512, hid_channels=512),
)

small_views = [
    dict(type="RandomResizedCrop", scale=96, crop_ratio_range=(0.2, 1.0)),
    *_base_.small_view_changes,
]
train_pipeline = [
    dict(type="LoadImageOrSkip"),
    dict(type="MultiView", num_views=2, transforms=[small_views]),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "skipped")),
]
train_dataloader = dict(batch_size=32, num_workers=1, dataset=dict(pipeline=train_pipeline))

# 300 steps of SGD at 0.03 train little but the stem (docs/lab/results.md).
optim_wrapper = dict(optimizer=dict(_delete_=True, type="AdamW", lr=1e-3, weight_decay=0.05))
param_scheduler = [
    dict(type="CosineAnnealingLR", T_max=100, by_epoch=True, convert_to_iter_based=True)
]
train_cfg = dict(max_epochs=100)
default_hooks = dict(logger=dict(interval=3), checkpoint=dict(interval=50))
auto_scale_lr = dict(base_batch_size=32)
