# MoCo v2, as its sibling pretrains XMoCo: the same in all but the two terms, which weigh nothing.
# Source:   xmoco_r18_1xb64_cifar10-short.py; MoCo v2: arXiv 2003.04297
# Command:  python tools/train.py configs/demo/mocov2_r18_1xb64_cifar10-short.py --data-root data/cifar10
# Hardware: 1 CPU core. Hours: 0.1
# Expected: see docs/lab/evaluation.md
_base_ = "xmoco_r18_1xb64_cifar10-short.py"

model = dict(head=dict(consistency=dict(loss_weight=0.0), uniformity=dict(loss_weight=0.0)))
