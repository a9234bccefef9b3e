# SegFormer, MiT-B0, for a small set in mmseg's layout.
# Source:   mmseg's SegFormer with smaller images; the values are ours
# Command:  xmoco transfer RUN/backbone.pth seg configs/segmentation/segformer_mit-b0_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model mmseg.MixVisionTransformer:b0
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = [
    "mmseg::_base_/models/segformer_mit-b0.py",
    "mmseg::_base_/default_runtime.py",
    "../_base_/small_segmentation.py",
    "../_base_/pretrained_backbone.py",
]

model = dict(
    data_preprocessor=dict(size=(256, 256)),
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone.")),
    decode_head=dict(norm_cfg=dict(type="BN", requires_grad=True)),
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=2e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
