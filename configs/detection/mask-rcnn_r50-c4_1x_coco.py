# Mask R-CNN, ResNet-50 C4, COCO 2017, 12 epochs.
# Source:   settings of MoCo (arXiv 1911.05722, appendix) on mmdet's C4 model
# Command:  bash tools/transfer.sh CKPT det configs/detection/mask-rcnn_r50-c4_1x_coco.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = [
    "mmdet::mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco.py",
    "../_base_/pretrained_backbone.py",
    "../_base_/c4_syncbn.py",
]

custom_imports = dict(imports=_base_.c4_imports)
model = dict(
    data_preprocessor=_base_.c4_input,
    backbone=_base_.c4_backbone,
    roi_head=dict(shared_head=_base_.c4_shared_head),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True, with_mask=True),
    dict(
        type="RandomChoiceResize",
        scales=[(1333, 640), (1333, 672), (1333, 704), (1333, 736), (1333, 768), (1333, 800)],
        keep_ratio=True,
    ),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
custom_hooks = [_base_.c4_arrival]
