# UPerNet, ConvNeXt-T, for a small set in mmseg's layout.
# Source:   mmseg's UPerNet on ConvNeXt with smaller images and heads; the values are ours
# Command:  xmoco transfer RUN/backbone.pth seg configs/segmentation/upernet_convnext-t_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model ConvNeXt:tiny
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = [
    "mmseg::_base_/models/upernet_convnext.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/small_segmentation.py",
]
# What ../_base_/pretrained_backbone.py has; mmseg's file names imports too.
custom_imports = dict(imports=["xmoco_plugin"], allow_failed_imports=False)
pretrained = ""

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(256, 256)),
    backbone=dict(
        arch="tiny",
        drop_path_rate=0.1,
        init_cfg=dict(checkpoint="", prefix="backbone."),
    ),
    decode_head=dict(in_channels=[96, 192, 384, 768], channels=128, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=384, channels=64, norm_cfg=norm_cfg),
)

# Norms of the levels that a pretraining does not use are new here.
custom_hooks = [dict(type="BackboneArrivalHook", ignore=[r"^norm[012]\."])]

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
