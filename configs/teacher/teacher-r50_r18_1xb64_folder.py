# ResNet-18, your own unlabelled folder of images, learning from an ImageNet ResNet-50, one GPU.
# Source:   as configs/teacher/teacher-dinov2-s_r18_1xb64_folder.py; teacher: mmpretrain's ResNet-50
# Command:  xmoco train configs/teacher/teacher-r50_r18_1xb64_folder.py --data-root YOUR_FOLDER
# Hardware: 1 GPU with about 6 GB. Hours and result: not yet run; both depend on the folder
_base_ = "teacher-dinov2-s_r18_1xb64_folder.py"

# The weights (102 MB, Apache-2.0) are looked for in torch hub's cache; fetch=True fetches them.
custom_hooks = [
    *_base_.custom_hooks[:-1],
    dict(type="TeacherHook", teacher="resnet50_8xb32_in1k", teacher_size=224),
]
