# UPerNet, Swin-T, for a small set in mmseg's layout.
# Source:   mmseg's UPerNet on Swin-T with smaller images and heads; the values are ours
# Command:  xmoco transfer RUN/backbone.pth seg configs/segmentation/upernet_swin-t_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model SwinTransformer:tiny
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = [
    "mmseg::_base_/models/upernet_swin.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/small_segmentation.py",
    "../_base_/pretrained_backbone.py",
]

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(256, 256)),
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone.")),
    decode_head=dict(channels=128, norm_cfg=norm_cfg),
    auxiliary_head=dict(channels=64, norm_cfg=norm_cfg),
)

# Norms of the levels that a pretraining does not use are new here.
custom_hooks = [
    dict(type="BackboneArrivalHook", ignore=[r"^norm[012]\.", "relative_position_index"])
]

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
