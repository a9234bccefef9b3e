# SwAV, ResNet-50, ImageNet-1K: mmpretrain's own config with the two terms on its head.
# Source:   settings of mmpretrain (arXiv 2006.09882); terms: our reading of arXiv 2206.04676
# Command:  bash tools/dist_train.sh configs/plug_in/xmoco_swav-r50.py 8 --data-root data/imagenet
# Hardware: 8 GPUs. Hours: not yet run
# Expected: not yet run
_base_ = "mmpretrain::swav/swav_resnet50_8xb32-mcrop-coslr-200e_in1k-224px-96px.py"
custom_imports = dict(imports=["xmoco_plugin"], allow_failed_imports=False)

# Weights are ours, untried at length: docs/plug_in.md says what they weigh in this algorithm's total.
model = dict(
    head=dict(
        _delete_=True,
        type="RegularizedSwAVHead",
        head=_base_.model.head,
        consistency=dict(loss_weight=1.0),
        uniformity=dict(loss_weight=0.1),
    ),
)
