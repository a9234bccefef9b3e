# Faster R-CNN, Swin-T FPN, a small set in COCO format.
# Source:   mmdet's Faster R-CNN by way of faster-rcnn_r18-fpn_small.py; the values are ours
# Command:  xmoco transfer RUN/backbone.pth det configs/detection/faster-rcnn_swin-t-fpn_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model SwinTransformer:tiny
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = "faster-rcnn_r18-fpn_small.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="SwinTransformer",
        embed_dims=96,
        depths=[2, 2, 6, 2],
        num_heads=[3, 6, 12, 24],
        window_size=7,
        drop_path_rate=0.1,
        out_indices=(0, 1, 2, 3),
        init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone."),
    ),
    neck=dict(in_channels=[96, 192, 384, 768]),
)
# Norms of the levels that a pretraining does not use are new here.
custom_hooks = [
    dict(type="BackboneArrivalHook", ignore=[r"^norm[012]\.", "relative_position_index"])
]

optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=1e-4, betas=(0.9, 0.999), weight_decay=0.05),
    paramwise_cfg=dict(norm_decay_mult=0.0),
)
