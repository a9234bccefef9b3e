# UPerNet, MoCo v3's ViT-S, for a small set in mmseg's layout.
# Source:   mmseg's UPerNet on ViT with smaller images and heads; the values are ours
# Command:  xmoco transfer RUN/backbone.pth seg configs/segmentation/upernet_vit-s_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model vit-small
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = [
    "mmseg::_base_/models/upernet_vit-b16_ln_mln.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/small_segmentation.py",
    "../_base_/pretrained_backbone.py",
]

norm_cfg = dict(type="BN", requires_grad=True)
model = dict(
    data_preprocessor=dict(size=(256, 256)),
    pretrained=None,
    # Heads, bias, norm and eps of mmpretrain's ViT. `xmoco transfer` sets img_size to that of the
    # weights, and brings them into mmseg's names.
    backbone=dict(
        img_size=(224, 224),
        embed_dims=384,
        num_heads=12,
        patch_bias=True,
        final_norm=True,
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
    neck=dict(in_channels=[384] * 4, out_channels=128),
    decode_head=dict(in_channels=[128] * 4, channels=128, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=128, channels=64, norm_cfg=norm_cfg),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=dict(pos_embed=dict(decay_mult=0.0))),
)
