# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from mmpretrain.registry import TRANSFORMS

from .channel_views import ChannelViews
from .one_view import OneView


@TRANSFORMS.register_module()
class OneChannelView(OneView, ChannelViews):
    """The first of the views that ``ChannelViews`` makes, for half of its time.

    For a student whose keys come from elsewhere (``TeacherContrast``).

    Required keys: ``img``, (H, W, C) float32 in [0, 255]. Modified keys: ``img``, a list of one
    view.

    Args:
        views: as of ``ChannelViews``; of two unlike ones, the first.
    """
