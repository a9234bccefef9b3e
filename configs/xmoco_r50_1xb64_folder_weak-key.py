# XMoCo, ResNet-50, your own unlabelled folder, one GPU: the key sees a weak view, crop and flip alone; temperature 0.1.
# Source:   xmoco_r50_1xb64_folder.py; weak key as in ReSSL (arXiv 2107.09282) and SCE (2111.14585)
# Command:  python tools/train.py configs/xmoco_r50_1xb64_folder_weak-key.py --data-root YOUR_FOLDER
# Hardware: 1 GPU with about 12 GB. Hours and result: not yet run; a small net on CIFAR-100: docs/lab/study.md
_base_ = "xmoco_r50_1xb64_folder.py"

model = dict(
    head=dict(temperature=0.1, consistency=dict(temperature=0.1), uniformity=dict(temperature=0.1))
)
train_dataloader = dict(
    dataset=dict(
        pipeline=[
            dict(type="LoadImageOrSkip"),
            dict(type="TwoViews", views="mocov2_weak_key"),
            dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "skipped")),
        ]
    )
)
