# What MoCo's C4 detectors change in the host's: parts of `model`, for the configs to put in place.
# Source: arXiv 1911.05722, appendix. Nothing is frozen and SyncBN learns: the statistics of
# pretraining are not those of detection.
_norm_cfg = dict(type="SyncBN", requires_grad=True)
_init_cfg = dict(type="Pretrained", checkpoint="", prefix="backbone.")
# The input of pretraining: the host's C4 models expect BGR of range 0 to 255.
c4_input = dict(mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], bgr_to_rgb=True)
c4_backbone = dict(
    frozen_stages=-1, norm_cfg=_norm_cfg, norm_eval=False, style="pytorch", init_cfg=_init_cfg
)
c4_shared_head = dict(
    type="NormedResLayer",
    norm_cfg=_norm_cfg,
    norm_eval=False,
    style="pytorch",
    init_cfg=_init_cfg,
)
# Beside the host's classes, the res5 head with the extra norm.
c4_imports = ["xmoco_plugin", "xmoco_plugin.downstream.normed_res_layer"]
c4_arrival = dict(type="BackboneArrivalHook", ignore=[r"shared_head\.norm\."])
