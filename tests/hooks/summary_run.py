# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A tiny run under RunSummaryHook, and what it writes."""

import json

from .. import tiny_runner


def build(folder, epochs: int = 2, validate: bool = True, summary: dict | None = None, **options):
    hook = dict(type="RunSummaryHook", num_images=8) | (summary or {})
    return tiny_runner.build(
        folder,
        hooks=[hook],
        validate=validate,
        **(dict(train_cfg=dict(by_epoch=True, max_epochs=epochs)) | options),
    )


def read(folder) -> dict:
    return json.loads((folder / "summary.json").read_text())
