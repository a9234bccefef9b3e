# Mask R-CNN, ResNet-50 C4, COCO 2017, 12 epochs.
# Source:   settings of MoCo (arXiv 1911.05722, appendix) on mmdet's C4 model
# Command:  bash tools/transfer.sh CKPT det configs/detection/mask-rcnn_r50-c4_1x_coco.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = [
    "mmdet::mask_rcnn/mask-rcnn_r50-caffe-c4_1x_coco.py",
    "../_base_/pretrained_backbone.py",
]

# Beside the host's classes, the res5 head with the extra norm.
custom_imports = dict(imports=["xmoco_plugin", "xmoco_plugin.downstream.normed_res_layer"])

# Nothing is frozen and SyncBN learns: the statistics of pretraining are not those of detection.
norm_cfg = dict(type="SyncBN", requires_grad=True)
init_cfg = dict(type="Pretrained", checkpoint="", prefix="backbone.")
model = dict(
    # The input of pretraining: the host's C4 models expect BGR of range 0 to 255.
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True
    ),
    backbone=dict(
        frozen_stages=-1, norm_cfg=norm_cfg, norm_eval=False, style="pytorch", init_cfg=init_cfg
    ),
    roi_head=dict(
        shared_head=dict(
            type="NormedResLayer",
            norm_cfg=norm_cfg,
            norm_eval=False,
            style="pytorch",
            init_cfg=init_cfg,
        )
    ),
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
custom_hooks = [dict(type="BackboneArrivalHook", ignore=[r"shared_head\.norm\."])]
