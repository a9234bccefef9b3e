# RTMDet-tiny's CSPNeXt, your own unlabelled folder, learning images and places from an ImageNet ResNet-50, one GPU.
# Source:   as configs/teacher/teacher-dinov2-s_cspnext-tiny_1xb64_folder.py; places as docs/teacher.md has them
# Command:  xmoco train configs/teacher/teacher-r50_cspnext-tiny_1xb64_folder_dense.py --data-root YOUR_FOLDER
# Hardware: 1 GPU with about 8 GB, and mmdet. Hours and result: not yet run; both depend on the folder
_base_ = "teacher-dinov2-s_cspnext-tiny_1xb64_folder.py"

# The teacher sees the student's crop, so that places match. Weights as in teacher-r50_r18_1xb64_folder.py.
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(type="TeacherHook", teacher="resnet50_8xb32_in1k", teacher_size=224, features=None),
]
model = dict(
    own_crop=True,
    neck=dict(
        _delete_=True,
        type="DenseCLNeck",
        in_channels=384,
        hid_channels=384,
        out_channels=256,
    ),
    head=dict(dense=dict(match="cosine")),
)
