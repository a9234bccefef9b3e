# YOLOX-s, CSPDarknet, a small set in COCO format.
# Source:   mmdet's YOLOX-s with smaller images of one size, without mosaic and mixup; the values are ours
# Command:  xmoco transfer RUN/backbone.pth det configs/detection/yolox_s_small.py --data-root FOLDER
#           after xmoco pretrain --data IMAGES --out RUN --model mmdet.CSPDarknet:s
# Hardware: 2 CPU cores, or 1 GPU. Hours: see docs/lab/backbones.md
# Expected: depends on the set; "scratch" in the place of the weights is the baseline
_base_ = "mmdet::yolox/yolox_s_8xb8-300e_coco.py"
custom_imports = dict(imports=["xmoco_plugin"], allow_failed_imports=False)
# The file: --cfg-options pretrained=FILE, or xmoco transfer.
pretrained = ""

# Empty: those of the annotation file. Or a list of some of them.
class_names = ""
data_root = "data/small/"
max_iters = 600
scale = (512, 512)  # the longer side at most this; the shape is kept

model = dict(
    # Those of the pretraining: RGB, with ImageNet's mean and deviation. The host has values from 0 to 255.
    data_preprocessor=dict(
        mean=[123.675, 116.28, 103.53],
        std=[58.395, 57.12, 57.375],
        bgr_to_rgb=True,
        pad_size_divisor=32,
        batch_augments=None,
    ),
    backbone=dict(init_cfg=dict(type="Pretrained", checkpoint="", prefix="backbone.")),
)

train_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="RandomFlip", prob=0.5),
    dict(type="PackDetInputs"),
]
test_pipeline = [
    dict(type="LoadImageFromFile"),
    dict(type="Resize", scale=scale, keep_ratio=True),
    dict(type="LoadAnnotations", with_bbox=True),
    dict(
        type="PackDetInputs",
        meta_keys=("img_id", "img_path", "ori_shape", "img_shape", "scale_factor"),
    ),
]
train_dataloader = dict(
    batch_size=4,
    num_workers=2,
    sampler=dict(type="InfiniteSampler"),
    dataset=dict(
        _delete_=True,
        type="CocoDataset",
        data_root=data_root,
        ann_file="annotations/train.json",
        data_prefix=dict(img="train/"),
        filter_cfg=dict(filter_empty_gt=True, min_size=16),
        pipeline=train_pipeline,
    ),
)
val_dataloader = dict(
    batch_size=1,
    num_workers=2,
    dataset=dict(
        data_root=data_root,
        ann_file="annotations/val.json",
        data_prefix=dict(img="val/"),
        pipeline=test_pipeline,
    ),
)
test_dataloader = val_dataloader
val_evaluator = dict(ann_file=data_root + "annotations/val.json")
test_evaluator = val_evaluator

train_cfg = dict(
    _delete_=True, type="IterBasedTrainLoop", max_iters=max_iters, val_interval=max_iters
)
# For 4 images; the host's 0.01 is for 64.
optim_wrapper = dict(optimizer=dict(lr=0.005))
param_scheduler = [
    dict(type="LinearLR", start_factor=0.01, by_epoch=False, begin=0, end=50),
    dict(type="CosineAnnealingLR", by_epoch=False, begin=50, end=max_iters, T_max=max_iters - 50),
]
default_hooks = dict(logger=dict(interval=20), checkpoint=dict(by_epoch=False, interval=max_iters))
log_processor = dict(by_epoch=False)
auto_scale_lr = dict(base_batch_size=4)
# The average of the weights is what is tested, as the host's; its augmentations are not switched.
custom_hooks = [
    dict(
        type="EMAHook",
        ema_type="ExpMomentumEMA",
        momentum=0.0001,
        update_buffers=True,
        priority=49,
    ),
    dict(type="BackboneArrivalHook"),
]
