# XMoCo, ResNet-18 for small images, CIFAR-10, 200 epochs: images on the GPU, bf16, and the encoders as CUDA graphs.
# Source:   xmoco_r18_1xb512_cifar10_resident.py; each switch is ours (docs/faster.md)
# Command:  python tools/train.py configs/xmoco_r18_1xb512_cifar10_fast.py --data-root data/cifar10
# Hardware: 1 GPU with bf16. Hours and result: not yet run
_base_ = "xmoco_r18_1xb512_cifar10_resident.py"

# Captured once and replayed: at 32 px the GPU is done before Python has launched the next kernel. One size, so no
# kernels for others.
model = dict(channels_last=True, compile_encoders=dict(mode="reduce-overhead", dynamic=False))
# bf16 has the range of float32: without a loss scale no step is skipped, and none asks the device whether to.
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    loss_scale=dict(enabled=False),
    optimizer=dict(fused=True),
)
env_cfg = dict(cudnn_benchmark=True)
