# Faster R-CNN, MoCo v3's ViT-S with a pyramid of four blocks, a small set in COCO format.
# Source:   mmdet's Faster R-CNN by way of faster-rcnn_r18-fpn_small.py; the values are ours
# Command:  xmoco transfer RUN/backbone.pth det configs/detection/faster-rcnn_vit-s_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model vit-small
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = "faster-rcnn_r18-fpn_small.py"

model = dict(
    # ViTDet's own pyramid and windows are in mmdet's projects, not in its package: mmseg's pyramid
    # stands in. `xmoco transfer` sets img_size to that of the weights.
    backbone=dict(
        _delete_=True,
        type="mmpretrain.VisionTransformer",
        arch=dict(embed_dims=384, num_layers=12, num_heads=12, feedforward_channels=1536),
        img_size=224,
        patch_size=16,
        out_type="featmap",
        out_indices=[2, 5, 8, 11],
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
    neck=[
        dict(type="mmseg.Feature2Pyramid", embed_dim=384, norm_cfg=dict(type="BN")),
        dict(type="FPN", in_channels=[384] * 4, out_channels=128, num_outs=5),
    ],
)

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0, custom_keys=dict(pos_embed=dict(decay_mult=0.0))),
)
