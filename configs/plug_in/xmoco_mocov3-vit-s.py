# MoCo v3, ViT-S/16, ImageNet-1K: mmpretrain's own config with the two terms on its head.
# Source:   settings of mmpretrain (arXiv 2104.02057); terms: our reading of arXiv 2206.04676
# Command:  NNODES=2 NODE_RANK=0 MASTER_ADDR=HOST0 bash tools/dist_train.sh configs/plug_in/xmoco_mocov3-vit-s.py 8 --data-root data/imagenet
# Hardware: 16 GPUs. Hours: not yet run
# Expected: not yet run
_base_ = "mmpretrain::mocov3/mocov3_vit-small-p16_16xb256-amp-coslr-300e_in1k.py"
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
