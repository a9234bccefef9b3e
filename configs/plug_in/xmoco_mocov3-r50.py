# MoCo v3, ResNet-50, ImageNet-1K: mmpretrain's own config with the two terms on its head.
# Source:   settings of mmpretrain (arXiv 2104.02057); terms: our reading of arXiv 2206.04676
# Command:  bash tools/dist_train.sh configs/plug_in/xmoco_mocov3-r50.py 8 --data-root data/imagenet
# Hardware: 8 GPUs. Hours: not yet run
# Expected: not yet run
_base_ = "mmpretrain::mocov3/mocov3_resnet50_8xb512-amp-coslr-300e_in1k.py"
custom_imports = dict(imports=["xmoco_plugin"], allow_failed_imports=False)

# Weights are ours, untried at length: docs/plug_in.md says what they weigh in this algorithm's total.
model = dict(
    head=dict(
        _delete_=True,
        type="RegularizedHead",
        head=_base_.model.head,
        consistency=dict(loss_weight=1.0),
        uniformity=dict(loss_weight=0.1),
    ),
)
