# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which registries a type may be from, by the place where it stands in a whole config.

The host takes a name that the registry in question does not have for a dotted path, so a class of
another kind must not pass: a Runner in the place of a model, say.
"""

from .registered import MODEL_KINDS

LOADER = ("DATASETS", "TRANSFORMS", "DATA_SAMPLERS", "FUNCTIONS")
# By the first name of a place; a part that is named here and has no type has no kinds.
KINDS: dict[str, tuple[str, ...]] = {
    "model": (*MODEL_KINDS, "WEIGHT_INITIALIZERS"),
    "data_preprocessor": MODEL_KINDS,
    "optim_wrapper": ("OPTIM_WRAPPERS", "OPTIM_WRAPPER_CONSTRUCTORS", "OPTIMIZERS"),
    "param_scheduler": ("PARAM_SCHEDULERS",),
    "default_hooks": ("HOOKS",),
    "custom_hooks": ("HOOKS",),
    "visualizer": ("VISUALIZERS", "VISBACKENDS"),
    "vis_backends": ("VISBACKENDS",),
    "log_processor": ("LOG_PROCESSORS",),
    "model_wrapper_cfg": ("MODEL_WRAPPERS",),
}
for _stage in ("train", "val", "test"):
    KINDS[f"{_stage}_dataloader"] = LOADER
    KINDS[f"{_stage}_cfg"] = ("LOOPS", *LOADER)  # a kNN loop has its bank's loader
    KINDS[f"{_stage}_evaluator"] = ("EVALUATOR", "METRICS")
# A config's own variables, which nothing is built from.
OTHERS = (*MODEL_KINDS, *LOADER, "HOOKS", "METRICS", "OPTIMIZERS", "OPTIM_WRAPPERS")
# What the Runner starts other programs, or other classes than its own, with.
REFUSED = ("compile", "strategy", "runner_type")
MODEL_PARTS = ("model", "data_preprocessor")


def kinds_at(first: str) -> tuple[str, ...]:
    """Names of registries for the types below a config's part."""
    return KINDS.get(first, OTHERS)
