# XMoCo, ResNet-18 for small images, CIFAR-10, 200 epochs: the training images lie on the GPU, which makes the views.
# Source:   xmoco_r18_1xb512_cifar10.py; the same draws as its CPU views (docs/lab/performance.md)
# Command:  python tools/train.py configs/xmoco_r18_1xb512_cifar10_resident.py --data-root data/cifar10
# Hardware: 1 GPU. Hours and result: not yet run
_base_ = "xmoco_r18_1xb512_cifar10.py"

model = dict(
    data_preprocessor=dict(
        type="TwoViewDataPreprocessor",
        views=dict(size=32, crop_scale=(0.08, 1.0), blur_prob=0.0),
        non_blocking=True,
    )
)
train_dataloader = dict(
    num_workers=0,
    persistent_workers=False,
    pin_memory=False,  # the batches are on the GPU already
    collate_fn=dict(type="resident_collate"),
    dataset=dict(type="ResidentImages", pipeline=[dict(type="PackInputs")]),
)
