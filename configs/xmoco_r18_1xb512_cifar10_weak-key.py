# XMoCo, ResNet-18 for small images, CIFAR-10, 200 epochs: the key sees a weak view, crop and flip alone.
# Source:   xmoco_r18_1xb512_cifar10.py (temperature 0.1); weak key as in ReSSL (arXiv 2107.09282) and SCE (2111.14585)
# Command:  python tools/train.py configs/xmoco_r18_1xb512_cifar10_weak-key.py --data-root data/cifar10
# Hardware: 1 GPU. Hours and result: not yet run; a smaller net on CIFAR-100: docs/lab/study.md
_base_ = "xmoco_r18_1xb512_cifar10.py"

train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(
                type="TwoViews",
                views=dict(recipe="mocov2_weak_key", size=32, crop_scale=(0.2, 1.0), blur_prob=0.0),
            ),
            dict(type="PackInputs"),
        ],
    ),
)
