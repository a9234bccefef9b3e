# FCN, ResNet-50 with output stride 16 and dilation 6 in the head, VOC 2012, 30,000 iterations.
# Source:   settings of MoCo (arXiv 1911.05722, appendix); the auxiliary head is left out
# Command:  bash tools/transfer.sh CKPT seg configs/segmentation/fcn-d6_r50-d16_voc12aug.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "fcn_r50-d8_voc12aug.py"

crop_size = (513, 513)
model = dict(
    data_preprocessor=dict(size=crop_size),
    backbone=dict(dilations=(1, 1, 1, 2), strides=(1, 2, 2, 1), contract_dilation=False),
    decode_head=dict(channels=256, dilation=6, concat_input=False, dropout_ratio=0),
    auxiliary_head=None,
)

# Images of this set are 500 pixels long: their own size, times 0.5 to 2.
train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="RandomResize", scale=(500, 500), ratio_range=(0.5, 2.0), keep_ratio=True),
    dict(type="RandomCrop", crop_size=crop_size),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackSegInputs"),
]
# Judged at their own size.
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations"),
    dict(type="PackSegInputs"),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
val_dataloader = dict(dataset=dict(pipeline=test_pipeline))
test_dataloader = val_dataloader
