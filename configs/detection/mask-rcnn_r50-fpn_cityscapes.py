# Mask R-CNN, ResNet-50 FPN, Cityscapes instances, 8 epochs of the set repeated 8 times.
# Source:   mmdet's Cityscapes config, without the COCO detector that it starts from
# Command:  bash tools/transfer.sh CKPT det configs/detection/mask-rcnn_r50-fpn_cityscapes.py --gpus 8
# Hardware: 8 GPUs with 1 image each. Hours: not measured
# Expected: not yet run
_base_ = [
    "mmdet::cityscapes/mask-rcnn_r50_fpn_1x_cityscapes.py",
    "../_base_/pretrained_backbone.py",
]

model = dict(
    backbone=dict(
        frozen_stages=-1,
        norm_cfg=dict(type="SyncBN"),
        norm_eval=False,
        init_cfg=dict(_delete_=True, type="Pretrained", checkpoint="", prefix="backbone."),
    )
)
load_from = None
