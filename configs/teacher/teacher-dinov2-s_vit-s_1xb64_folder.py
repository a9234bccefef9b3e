# MoCo v3's ViT-S/16, your own unlabelled folder of images, learning from DINOv2's ViT-S/14, one GPU.
# Source:   as configs/teacher/teacher-dinov2-s_r50_1xb64_folder.py; optimizer of MoCo v3 (arXiv 2104.02057)
# Command:  xmoco train configs/teacher/teacher-dinov2-s_vit-s_1xb64_folder.py --data-root YOUR_FOLDER
# Hardware: 1 GPU with about 12 GB. Hours and result: not yet run; both depend on the folder
_base_ = "teacher-dinov2-s_r50_1xb64_folder.py"

model = dict(
    backbone=dict(
        _delete_=True,
        type="MoCoV3ViT",
        arch="mocov3-small",
        img_size=224,
        patch_size=16,
        stop_grad_conv1=True,
        frozen_stages=-1,
        norm_eval=False,
    ),
    neck=dict(in_channels=384, hid_channels=384, with_avg_pool=False),
)
# 2.4e-3 for a batch of 4,096, scaled linearly.
optim_wrapper = dict(
    optimizer=dict(_delete_=True, type="AdamW", lr=3.75e-5, weight_decay=0.1),
)
