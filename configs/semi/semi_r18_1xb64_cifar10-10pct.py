# ResNet-18 for small images fine-tuned on 10 % of CIFAR-10's labels, 30 epochs.
# Source:   as for 1 %, with SimCLR's number of epochs for 10 %
# Command:  python tools/train.py configs/semi/semi_r18_1xb64_cifar10-10pct.py --data-root data/cifar10 --cfg-options pretrained=CKPT
# Hardware: 1 GPU. Hours: not yet run
# Expected: not yet run
_base_ = "semi_r18_1xb64_cifar10-1pct.py"

epochs = 30

train_dataloader = dict(dataset=dict(percent=10))
param_scheduler = dict(T_max=epochs)
train_cfg = dict(max_epochs=epochs, val_interval=5)
