# Mask R-CNN, ResNet-50 C4, COCO 2017, 24 epochs.
# Source:   mask-rcnn_r50-c4_1x_coco.py with the longer schedule
# Command:  bash tools/transfer.sh CKPT det configs/detection/mask-rcnn_r50-c4_2x_coco.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "mask-rcnn_r50-c4_1x_coco.py"

train_cfg = dict(max_epochs=24)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=500),
    dict(type="MultiStepLR", begin=0, end=24, by_epoch=True, milestones=[16, 22], gamma=0.1),
]
