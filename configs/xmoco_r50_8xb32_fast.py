# XMoCo, ResNet-50, ImageNet-1K, 200 epochs: bf16, channels_last, compiled encoders, fused SGD, device views made ahead.
# Source:   xmoco_r50_8xb32_deviceviews.py; each switch is ours (docs/faster.md)
# Command:  bash tools/dist_train.sh configs/xmoco_r50_8xb32_fast.py 8 --data-root data/imagenet
# Hardware: 8 GPUs with bf16. Hours and result: not yet run
_base_ = "xmoco_r50_8xb32_deviceviews.py"

model = dict(channels_last=True, compile_encoders=True)
# bf16 has the range of float32: without a loss scale no step is skipped, and none asks the device whether to.
optim_wrapper = dict(
    type="AmpOptimWrapper",
    dtype="bfloat16",
    loss_scale=dict(enabled=False),
    optimizer=dict(fused=True),
)
# The next batch is copied and its views are made while the step runs.
custom_hooks = [*_base_.custom_hooks, dict(type="PrefetchHook")]
env_cfg = dict(cudnn_benchmark=True)
