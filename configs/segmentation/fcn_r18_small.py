# FCN, ResNet-18 with output stride 16, for a small set in mmseg's layout.
# Source:   mmseg's FCN with smaller images and heads; the values are ours
# Command:  bash tools/transfer.sh CKPT seg configs/segmentation/fcn_r18_small.py --data-root FOLDER
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/results.md
# Expected: depends on the set
_base_ = [
    "mmseg::_base_/models/fcn_r50-d8.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/small_segmentation.py",
    "../_base_/pretrained_backbone.py",
]

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(256, 256)),
    pretrained=None,
    backbone=dict(
        type="ResNet",
        depth=18,
        dilations=(1, 1, 1, 2),
        strides=(1, 2, 2, 1),
        contract_dilation=False,
        norm_cfg=norm_cfg,
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
    decode_head=dict(in_channels=512, channels=128, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=256, channels=64, norm_cfg=norm_cfg),
)
