# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.


class PretrainError(ValueError):
    """Data, options or an output folder that a run cannot start with, and the way out."""
