# Faster R-CNN, ResNet-50 C4, VOC 2007+2012 trainval, tested on VOC 2007 test, 24,000 iterations: from scratch.
# Source:   faster-rcnn_r50-c4_24k_voc0712.py, of which only the start differs
# Command:  bash tools/transfer.sh scratch det configs/detection/faster-rcnn_r50-c4_24k_voc0712_scratch.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "faster-rcnn_r50-c4_24k_voc0712.py"

model = dict(backbone=dict(init_cfg=None), roi_head=dict(shared_head=dict(init_cfg=None)))
custom_hooks = _base_.custom_hooks[1:]
