# ResNet-18, your own unlabelled folder of images, learning from DINOv2's ViT-S/14 (22 M), one GPU.
# Source:   as configs/teacher/teacher-dinov2-s_r50_1xb64_folder.py
# Command:  xmoco train configs/teacher/teacher-dinov2-s_r18_1xb64_folder.py --data-root YOUR_FOLDER
# Hardware: 1 GPU with about 6 GB. Hours and result: not yet run; both depend on the folder
_base_ = "teacher-dinov2-s_r50_1xb64_folder.py"

model = dict(backbone=dict(depth=18), neck=dict(in_channels=512, hid_channels=512))
