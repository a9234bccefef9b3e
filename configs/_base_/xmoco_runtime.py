# What every XMoCo run has: the registered classes, and hooks that say early what would go wrong.
custom_imports = dict(imports=["xmoco_plugin"], allow_failed_imports=False)
custom_hooks = [
    dict(type="PreflightHook"),
    dict(type="SkippedImagesHook", max_share=0.01),
    dict(type="NonFiniteLossHook", interval=50),
    dict(type="CheckpointGuardHook"),
    dict(type="HealthHook", interval=50),
    dict(type="ProgressHook"),
]
