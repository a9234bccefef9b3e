# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A tiny run whose kNN is written down beforehand, under the hooks that compare with its start."""

import json

import numpy as np
from mmengine.runner import ValLoop
from mmpretrain.registry import LOOPS

from xmoco_plugin.evaluation import Answers

from .. import models, tiny_runner
from . import health_run

QUERIES = 16  # tiny_runner's images


@LOOPS.register_module(force=True)
class ToldKNN(ValLoop):
    """Validation that answers rightly as many queries as it is told to, by epoch from 0."""

    def __init__(self, runner, dataloader, evaluator, right, queries=QUERIES):
        super().__init__(runner, dataloader, evaluator)
        self.right, self.queries = right, queries
        self.answers = None

    def run(self):
        right = self.right[self.runner.epoch]
        hits = np.arange(self.queries) < right
        self.answers = Answers(100 * hits.mean(), self.queries, hits)
        metrics = {"accuracy/top1": self.answers.percent}
        for hook in ("before_val", "before_val_epoch"):
            self.runner.call_hook(hook)
        self.runner.call_hook("after_val_epoch", metrics=metrics)
        self.runner.call_hook("after_val")
        return metrics


def build(folder, right=None, pretrained=True, epochs=None, stop=True, hooks=(), **options):
    """A run; ``right`` of its 16 queries are answered at the start and after each epoch."""
    epochs = epochs or len(right) - 1
    begun = [
        dict(type="HealthHook", interval=2, pretrained=pretrained),
        dict(type="BestExportHook", pretrained=pretrained),
        *([dict(type="StopWhenWorseHook")] if stop else []),
        *hooks,
    ]
    options = dict(train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1)) | options
    if right is not None:
        begun.append(dict(type="RunSummaryHook", picture=False, raw_pixels=False))
        options |= dict(
            val_dataloader=tiny_runner.loader(views=False, shuffle=False, test_mode=True),
            val_cfg=dict(type="ToldKNN", right=right),
            val_evaluator=dict(type="Accuracy", topk=(1,)),
        )
    model = models.config(data_preprocessor=health_run.PREPROCESSOR)
    return tiny_runner.build(folder, hooks=begun, model=model, **options)


def lines(folder) -> list[dict]:
    """Of weights.jsonl."""
    return [json.loads(line) for line in (folder / "weights.jsonl").read_text().splitlines()]
