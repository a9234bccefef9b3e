# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .xmoco_head import XMoCoHead

__all__ = ["XMoCoHead"]
