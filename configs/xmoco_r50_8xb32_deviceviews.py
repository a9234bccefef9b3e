# XMoCo, ResNet-50, ImageNet-1K, 200 epochs, both views made on the GPU from images decoded once.
# Source:   xmoco_r50_8xb32.py; the same draws as its CPU views (docs/lab/performance.md)
# Command:  bash tools/dist_train.sh configs/xmoco_r50_8xb32_deviceviews.py 8 --data-root data/imagenet
# Hardware: 8 GPUs. Hours and result: not yet run
_base_ = "xmoco_r50_8xb32.py"

model = dict(
    data_preprocessor=dict(
        type="TwoViewDataPreprocessor",
        views="mocov2",
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        to_rgb=True,
        non_blocking=True,
    )
)
train_dataloader = dict(
    pin_memory=True,
    collate_fn=dict(type="ragged_collate"),
    dataset=dict(
        pipeline=[
            dict(type="LoadImageOrSkip"),
            dict(type="PackRaggedInputs", meta_keys=("sample_idx", "img_path", "skipped")),
        ]
    ),
)
