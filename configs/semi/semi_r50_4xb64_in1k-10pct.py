# ResNet-50 fine-tuned on 10 % of ImageNet-1K's labels, 20 epochs.
# Source:   mmselfsup's semi-supervised benchmark, the one of its nine with lr 0.01 and the head's times 100
# Command:  bash tools/dist_train.sh configs/semi/semi_r50_4xb64_in1k-10pct.py 4 --cfg-options pretrained=CKPT
#           SimCLR's images instead of ours: train_dataloader.dataset.files=10percent.txt
# Hardware: 4 GPUs. Hours: not yet run
# Expected: not yet run
_base_ = "semi_r50_4xb64_in1k-1pct.py"

train_dataloader = dict(dataset=dict(percent=10))
