# XMoCo, ResNet-50, your own unlabelled folder of images (nested folders, mixed formats), one GPU.
# Source:   settings of MoCo v2 (arXiv 2003.04297), scaled to one GPU and a smaller set (ours)
# Command:  python tools/train.py configs/xmoco_r50_1xb64_folder.py --data-root YOUR_FOLDER
# Better in a small study: its sibling _weak-key (docs/lab/study.md), whose choices `xmoco pretrain` makes
# Hardware: 1 GPU with about 12 GB. Hours and result: not yet run; both depend on the folder
_base_ = "xmoco_r50_8xb32.py"

# 4,096 keys: a queue longer than the set holds stale keys of the same image. Leave it out of the
# terms until it is full, which on a small set takes epochs.
# Two parts of 32, as large as MoCo's batch on one of its GPUs: on one process shuffle-BN needs parts.
model = dict(
    queue_len=4096,
    exclude_unfilled=True,
    backbone=dict(norm_cfg=dict(type="SplitBN", num_splits=2)),
)

train_dataloader = dict(
    batch_size=64,
    dataset=dict(_delete_=True, type="UnlabeledFolder", pipeline=_base_.train_pipeline),
)
# 0.03 for a batch of 256, scaled linearly.
optim_wrapper = dict(optimizer=dict(lr=0.0075))
auto_scale_lr = dict(base_batch_size=64)
