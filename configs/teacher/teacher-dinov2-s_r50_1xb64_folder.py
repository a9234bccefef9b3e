# ResNet-50, your own unlabelled folder of images, learning from DINOv2's ViT-S/14 (22 M), one GPU.
# Source:   settings of configs/xmoco_r50_1xb64_folder.py; relation to a frozen teacher as in SEED (arXiv 2101.04731)
# Command:  xmoco train configs/teacher/teacher-dinov2-s_r50_1xb64_folder.py --data-root YOUR_FOLDER
# Hardware: 1 GPU with about 12 GB. Hours and result: not yet run; both depend on the folder
_base_ = "../xmoco_r50_1xb64_folder.py"

# The weights (88 MB, Apache-2.0) are looked for in torch hub's cache; fetch=True fetches them.
custom_hooks = [
    *_base_.custom_hooks,
    dict(type="TeacherHook", teacher="vit-small-p14_dinov2-pre_3rdparty", teacher_size=224),
]
model = dict(
    _delete_=True,
    type="TeacherContrast",
    backbone=dict(type="ResNet", depth=50, zero_init_residual=True),
    neck=dict(
        type="MoCoV2Neck",
        in_channels=2048,
        hid_channels=2048,
        out_channels=256,
        with_avg_pool=True,
    ),
    head=dict(type="TeacherHead", relation=dict(temperature=0.1, teacher_temperature=0.05)),
    feat_dim=256,
    num_keys=4096,
)
# One view a step: the teacher has seen each image already.
train_pipeline = [
    dict(type="LoadImageOrSkip"),
    dict(type="OneView", views="mocov2"),
    dict(type="PackInputs", meta_keys=("sample_idx", "img_path", "skipped")),
]
train_dataloader = dict(dataset=dict(pipeline=train_pipeline))
