# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The choices and the config of a run that learns from a frozen teacher."""

from typing import Any

from mmengine.config import Config

from .backbones import Outputs
from .choices import Chooser
from .chosen import Choices
from .errors import PretrainError
from .model_parts import chosen_backbone
from .run_config import RUNNER_KEYS, model_config

# Of other images that a step compares with. Measured here: 512 to 4,096 teach alike, and of a small
# network's step on a CPU they are a third of the work (docs/lab/teacher.md).
KEYS = 4096
KEYS_ON_CPU = 1024
ONE_VIEW = {"TwoViews": "OneView", "ChannelViews": "OneChannelView"}


class TeacherChooser(Chooser):
    """As :class:`Chooser`, without what only a momentum encoder has."""

    def _key_and_temperature(self) -> None:
        """Neither: the key is no view of a momentum encoder, and the relation has its own two."""

    def number_format(self, usual: bool) -> None:
        """The usual one: what a student learns in another has not been measured."""

    def norms(self, fixable: bool) -> None:
        """The batch's statistics: what fixed ones do to a student has not been measured."""

    def length(self) -> None:
        """Epochs, optimizer and rate."""
        super().length()
        self.choices.why.pop("momentum", None)

    def queue(self) -> None:
        """Keys of other images that a step compares with.

        Raises:
            PretrainError: More than there are images.
        """
        given = self.given.get("queue_len")
        if given is not None and given > self.facts.images:
            raise PretrainError(
                f"--queue-len {given:,}: a step can compare with the teacher's keys of all "
                f"{self.facts.images:,} images at most."
            )
        usual = KEYS if self.facts.on_gpu else KEYS_ON_CPU
        keys = min(usual, self.facts.images)
        why = "drawn anew in each step from the teacher's keys, which never age"
        if keys < usual:
            why = "the teacher's keys of all images"
        self._take("queue_len", keys, why)


def teacher_model_config(
    choices: Choices,
    outputs: Outputs,
    dims: int,
    own_crop: bool = False,
    stand_in: bool = False,
    beside: float | None = None,
) -> dict[str, Any]:
    """The config of a student; ``choices`` may lack what depends on the set's size.

    Args:
        choices, outputs: Of the run.
        dims: Of the teacher's keys.
        own_crop: Whether the teacher sees the student's crops.
        stand_in: Keys are noise, to measure a step.
        beside: Weight of InfoNCE and a momentum encoder beside the teacher; None for none.
    """
    base = model_config(choices, outputs)
    # Nothing tells an image's own key by its batch's statistics here, so that BN needs no parts.
    backbone = chosen_backbone(choices, 1)
    neck = dict(
        type="MoCoV2Neck",
        in_channels=outputs.channels,
        hid_channels=outputs.channels,
        out_channels=dims,
        with_avg_pool=outputs.is_map,
    )
    asked = dict(own_crop=own_crop) | (dict(stand_in=True) if stand_in else {})
    if beside is not None:
        head = dict(type="XMoCoHead", temperature=base["head"]["temperature"], nce_weight=beside)
        taught = dict(teacher_neck=neck, teacher_head=dict(type="TeacherHead"), teacher_dims=dims)
        return base | dict(type="TaughtXMoCo", head=head, num_keys=KEYS, **taught, **asked)
    return dict(
        type="TeacherContrast",
        backbone=backbone,
        neck=neck,
        head=dict(type="TeacherHead"),
        feat_dim=dims,
        num_keys=choices.queue_len or KEYS,
        channels_last=choices.channels_last,
        data_preprocessor=base["data_preprocessor"],
        **asked,
    )


def with_teacher(cfg: Config, model: dict[str, Any], features: bool, knn: float | None) -> Config:
    """The complete config of :func:`run_config`, of a student instead.

    Args:
        cfg: Not changed.
        model: Of :func:`teacher_model_config`.
        features: Whether the teacher's features are stored.
        knn: The teacher's own, percent, where it is known.
    """
    settings = cfg.to_dict()
    settings["model"] = {k: v for k, v in model.items() if k != "data_preprocessor"}
    for step in settings["train_dataloader"]["dataset"]["pipeline"]:
        if model["type"] == "TeacherContrast":
            step["type"] = ONE_VIEW.get(step["type"], step["type"])
    hook = dict(type="TeacherHook", knn=knn) | ({} if features else dict(features=None))
    settings["custom_hooks"].append(hook)
    return Config({key: settings[key] for key in RUNNER_KEYS if key in settings})
