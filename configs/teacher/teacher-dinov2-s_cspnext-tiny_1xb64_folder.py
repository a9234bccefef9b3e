# RTMDet-tiny's CSPNeXt, your own unlabelled folder of images, learning from DINOv2's ViT-S/14, one GPU.
# Source:   as configs/teacher/teacher-dinov2-s_r50_1xb64_folder.py; backbone of RTMDet (arXiv 2212.07784)
# Command:  xmoco train configs/teacher/teacher-dinov2-s_cspnext-tiny_1xb64_folder.py --data-root YOUR_FOLDER
# Hardware: 1 GPU with about 6 GB, and mmdet. Hours and result: not yet run; both depend on the folder
_base_ = "teacher-dinov2-s_r50_1xb64_folder.py"

# Its last stage alone: what RTMDet's neck gets of it beside two others.
model = dict(
    backbone=dict(
        _delete_=True,
        type="mmdet.CSPNeXt",
        arch="P5",
        deepen_factor=0.167,
        widen_factor=0.375,
        out_indices=(4,),
        channel_attention=True,
        norm_cfg=dict(type="BN"),
        act_cfg=dict(type="SiLU", inplace=True),
    ),
    neck=dict(in_channels=384, hid_channels=384),
)
