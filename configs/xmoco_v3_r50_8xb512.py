# XMoCo v3, ResNet-50, ImageNet-1K, 300 epochs: mmpretrain's MoCo v3 with the two terms added.
# Source:   settings of MoCo v3 (arXiv 2104.02057); terms: our reading of arXiv 2206.04676
# Command:  bash tools/dist_train.sh configs/xmoco_v3_r50_8xb512.py 8 --data-root data/imagenet
# Hardware: 8 GPUs. Hours: not yet run
# Expected: not yet run
_base_ = [
    "mmpretrain::mocov3/mocov3_resnet50_8xb512-amp-coslr-300e_in1k.py",
    "_base_/xmoco_runtime.py",
]

# The sum of two passes is MoCo v3's loss: a weight counts twice. The weights are ours.
model = dict(
    head=dict(
        _delete_=True,
        type="RegularizedHead",
        head=_base_.model.head,
        consistency=dict(pairs="batch", target="transpose", divergence="mse", loss_weight=1.0),
        uniformity=dict(negatives="batch", direction="forward", loss_weight=0.1),
    ),
)

# The host's views of images that are read by a loader that survives bad files.
train_pipeline = [
    dict(type="LoadImageOrSkip"),
    dict(
        type="MultiView",
        num_views=[1, 1],
        transforms=[_base_.view_pipeline1, _base_.view_pipeline2],
    ),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "skipped")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
