# XMoCo, ResNet-50, ImageNet-1K, 200 epochs, with the settings of MoCo v1 instead of v2.
# Source:   settings of MoCo v1 (arXiv 1911.05722); terms: our reading of arXiv 2206.04676
# Command:  bash tools/dist_train.sh configs/xmoco_r50_8xb32_mocov1.py 8 --data-root data/imagenet
# Hardware: 8 GPUs. Hours: about 53 on 8 V100 for MoCo itself (FAIR's README)
# Expected: not yet run. MoCo v1 itself: 60.8 +- 0.2 linear top-1 (FAIR's README)
_base_ = "xmoco_r50_8xb32.py"

model = dict(
    neck=dict(
        _delete_=True,
        type="LinearNeck",
        in_channels=2048,
        out_channels=128,
        gap_dim=2,
        norm_cfg=None,
    ),
    head=dict(
        temperature=0.07,
        consistency=dict(temperature=0.07),
        uniformity=dict(temperature=0.07),
    ),
)

# Version 1 blurs nothing, always jitters, and turns the hue further.
view_pipeline = [
    dict(type="RandomResizedCrop", scale=224, crop_ratio_range=(0.2, 1.0), backend="pillow"),
    dict(
        type="RandomGrayscale",
        prob=0.2,
        keep_channels=True,
        channel_weights=(0.114, 0.587, 0.2989),
    ),
    dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.4),
    dict(type="RandomFlip", prob=0.5),
]
train_pipeline = [
    dict(type="LoadImageOrSkip"),
    dict(type="MultiView", num_views=2, transforms=[view_pipeline]),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "skipped")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))

param_scheduler = [
    dict(type="MultiStepLR", by_epoch=True, milestones=[120, 160], gamma=0.1, end=200)
]
