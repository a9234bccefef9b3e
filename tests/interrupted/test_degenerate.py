# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images that teach nothing: a verdict that says so and a finite loss, no crash."""

import json

import numpy as np
import pytest
from mmpretrain.registry import DATASETS

from .. import models, tiny_runner
from ..hooks import health_run


@DATASETS.register_module(force=True)
class PoorImages(tiny_runner.TinyImages):
    """TinyImages made poor.

    Args:
        kind: 'black', 'constant' (a grey each), 'equal' (the first again and again) or 'two'.
    """

    def __init__(self, kind: str, **kwargs):
        self.kind = kind
        super().__init__(**kwargs)

    def load_data_list(self) -> list[dict]:
        infos = super().load_data_list()
        images = [info["img"] for info in infos]
        for place, info in enumerate(infos):
            if self.kind == "black":
                info["img"] = np.zeros_like(images[0])
            elif self.kind == "constant":
                info["img"] = np.full_like(images[0], 10 * place)
            else:
                info["img"] = images[place % (2 if self.kind == "two" else 1)]
        return infos


@pytest.mark.parametrize("kind", ["black", "constant", "equal", "two"])
def test_images_that_teach_nothing_get_a_verdict(tmp_path, kind):
    runner = tiny_runner.build(
        tmp_path,
        hooks=[dict(type="HealthHook", interval=2), dict(type="NonFiniteLossHook")],
        train_dataloader=tiny_runner.loader(type="PoorImages", kind=kind),
        train_cfg=dict(by_epoch=True, max_epochs=6),
        # So short a run is judged only where its key encoder follows fast.
        model=models.config(data_preprocessor=health_run.PREPROCESSOR, momentum=0.5),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=6)),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.05, momentum=0.9)),
    )
    runner.train()
    lines = [json.loads(line) for line in (tmp_path / "health.jsonl").read_text().splitlines()]
    assert len(lines) == 6
    assert lines[-1]["verdict"] in VERDICTS[kind]


# Two images over and over are told apart, which is all that can be learnt of them.
VERDICTS = {
    "black": {"collapsing"},
    "constant": {"collapsing", "not learning"},
    "equal": {"collapsing", "not learning"},
    "two": {"collapsing", "not learning", "learning"},
}
