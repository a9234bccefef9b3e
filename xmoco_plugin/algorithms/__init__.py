# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .xmoco import XMoCo

__all__ = ["XMoCo"]
