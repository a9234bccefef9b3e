# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.


class DownstreamError(ValueError):
    """Data, options or an environment that a fine-tuning cannot start with; the text says why."""
