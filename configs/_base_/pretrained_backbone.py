# What every transfer config has: the option that names the checkpoint, and the proof that it arrived.
custom_imports = dict(imports=["xmoco_plugin"], allow_failed_imports=False)
# The file: --cfg-options pretrained=FILE, or tools/transfer.sh. It goes into every empty init_cfg.
pretrained = ""
custom_hooks = [dict(type="BackboneArrivalHook")]
