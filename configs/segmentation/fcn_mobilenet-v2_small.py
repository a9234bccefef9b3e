# FCN, MobileNetV2 with output stride 8, for a small set in mmseg's layout.
# Source:   mmseg's FCN on MobileNetV2 with smaller images and heads; the values are ours
# Command:  xmoco transfer RUN/backbone.pth seg configs/segmentation/fcn_mobilenet-v2_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model MobileNetV2
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = "fcn_r18_small.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="MobileNetV2",
        strides=(1, 2, 2, 1, 1, 1, 1),
        dilations=(1, 1, 1, 2, 2, 4, 4),
        out_indices=(1, 2, 4, 6),
        norm_cfg=dict(type="BN", requires_grad=True),
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
    decode_head=dict(in_channels=320),
    auxiliary_head=dict(in_channels=96),
)
# The last convolution of a pretraining, to 1280 channels, is none of mmseg's.
custom_hooks = [dict(type="BackboneArrivalHook", ignore=[r"^conv2\."])]
