# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The error of a checkpoint that is not used."""


class CheckpointError(ValueError):
    """A checkpoint that cannot be used, with the reason and the way out in its message."""
