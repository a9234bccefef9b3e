# Faster R-CNN, ResNet-50 C4, VOC 2007+2012 trainval, tested on VOC 2007 test, 24,000 iterations.
# Source:   settings of MoCo (arXiv 1911.05722, appendix) on mmdet's C4 model
# Command:  bash tools/transfer.sh CKPT det configs/detection/faster-rcnn_r50-c4_24k_voc0712.py --gpus 8 --seeds 0..4
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run. MoCo v2, 200 epochs: AP50 82.4, AP 57.0, AP75 63.6 (FAIR, means of 5)
_base_ = [
    "mmdet::pascal_voc/faster-rcnn_r50-caffe-c4_ms-18k_voc0712.py",
    "../_base_/pretrained_backbone.py",
    "../_base_/c4_syncbn.py",
]

custom_imports = dict(imports=_base_.c4_imports)
model = dict(
    data_preprocessor=_base_.c4_input,
    backbone=_base_.c4_backbone,
    roi_head=dict(shared_head=_base_.c4_shared_head),
)

# The two years differ in a key that the wrapper would refuse to merge.
train_dataloader = dict(dataset=dict(ignore_keys=["dataset_type"]))

# AP is the mean over the ten thresholds; 11 points, as VOC 2007 has it.
val_evaluator = dict(iou_thrs=[0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95])
test_evaluator = val_evaluator

train_cfg = dict(max_iters=24000, val_interval=24000)
param_scheduler = [
    dict(type="LinearLR", start_factor=0.001, by_epoch=False, begin=0, end=100),
    dict(type="MultiStepLR", begin=0, end=24000, by_epoch=False, milestones=[18000, 22000]),
]
default_hooks = dict(checkpoint=dict(interval=24000))
# Before the checkpoint hook, so that what is saved is what is evaluated.
custom_hooks = [
    _base_.c4_arrival,
    dict(type="TrainModePreciseBNHook", interval=24000, num_samples=3200, priority="ABOVE_NORMAL"),
]
