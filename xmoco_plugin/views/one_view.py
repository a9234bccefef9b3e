# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from mmpretrain.registry import TRANSFORMS

from .generator import fresh_generator
from .parameters import draw_parameters
from .two_views import TwoViews


@TRANSFORMS.register_module()
class OneView(TwoViews):
    """The first of the views that ``TwoViews`` makes, for half of its time.

    For a student whose keys come from elsewhere (``TeacherContrast``).

    Required keys: ``img``, (H, W, 3) uint8 BGR. Modified keys: ``img``, a list of one view.

    Args:
        views: as of ``TwoViews``; of two unlike ones, the first.
    """

    def transform(self, results: dict) -> dict:
        """Replace the image by its view."""
        image = results["img"]
        rng = fresh_generator()
        drawn = draw_parameters(self.recipes[0], [image.shape[:2]], rng)
        results["img"] = [self._view(image, self.recipes[0], drawn, 0)]
        results["img_shape"] = results["img"][0].shape[:2]
        return results
