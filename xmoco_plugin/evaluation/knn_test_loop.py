# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from mmpretrain.registry import LOOPS

from .knn_val_loop import KNNValLoop


@LOOPS.register_module()
class KNNTestLoop(KNNValLoop):
    """`KNNValLoop` for ``test_cfg``: same arguments and metrics, the host's test hooks."""

    stage = "test"
