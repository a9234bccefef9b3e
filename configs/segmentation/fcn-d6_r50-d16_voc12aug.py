# FCN, ResNet-50 with output stride 16 and dilation 6 in the head, VOC 2012, 30,000 iterations.
# Source:   settings of MoCo (arXiv 1911.05722, appendix); the auxiliary head is left out
# Command:  bash tools/transfer.sh CKPT seg configs/segmentation/fcn-d6_r50-d16_voc12aug.py --gpus 8
# Hardware: 8 GPUs with 2 images each. Hours: not measured
# Expected: not yet run
_base_ = "fcn_r50-d8_voc12aug.py"

model = dict(
    backbone=dict(dilations=(1, 1, 1, 2), strides=(1, 2, 2, 1), contract_dilation=False),
    decode_head=dict(channels=256, dilation=6, concat_input=False, dropout_ratio=0),
    auxiliary_head=None,
)
