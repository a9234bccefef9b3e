# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS

from ..distributed import unwrapped
from ..views import TwoViewDataPreprocessor


@HOOKS.register_module()
class ProgressiveSizeHook(Hook):
    """Trains on small views first and on larger ones later: another recipe, with cheaper epochs.

    Before each epoch e, counted from 0, the views of ``TwoViewDataPreprocessor`` get the side
    first + (last - first) * clip((e - begin) / (end - begin), 0, 1), rounded to a multiple. It
    depends on e alone, so a resumed run has the side it would have had. All else of the views
    stays, the blur's width in pixels too. For encoders that take any size.

    Args:
        first: side of the views in the first epochs, in pixels. Default 160, after FFCV-SSL
            (arXiv 2303.01986).
        last: side in the last epochs. Default 224.
        begin: last epoch, counted from 0, of the first size. Default 0.
        end: first epoch of the last size. Default None: the training's last epoch (ours).
        multiple: sides are multiples of it, but for ``first`` and ``last``. Default 32, what
            ResNets halve a side to 1 by.
    """

    def __init__(
        self,
        first: int = 160,
        last: int = 224,
        begin: int = 0,
        end: int | None = None,
        multiple: int = 32,
    ) -> None:
        if min(first, last, multiple) < 1 or begin < 0 or (end is not None and end <= begin):
            raise ValueError(
                "ProgressiveSizeHook takes sides and a multiple of at least 1 pixel and "
                f"0 <= begin < end, got first={first}, last={last}, multiple={multiple}, "
                f"begin={begin}, end={end}"
            )
        self.first, self.last, self.begin, self.end = first, last, begin, end
        self.multiple = multiple

    def size(self, epoch: int, max_epochs: int) -> int:
        """Side of the views in an epoch counted from 0."""
        end = max_epochs - 1 if self.end is None else self.end
        if epoch >= end:
            return self.last
        if epoch <= self.begin:
            return self.first
        share = (epoch - self.begin) / (end - self.begin)
        exact = self.first + (self.last - self.first) * share
        low, high = sorted((self.first, self.last))
        return min(max(round(exact / self.multiple) * self.multiple, low), high)

    def before_train(self, runner: Runner) -> None:
        """Make sure that the views can be set.

        Raises:
            ValueError: views made elsewhere, or no epochs; what to change.
        """
        if not isinstance(runner.train_loop, EpochBasedTrainLoop):
            raise ValueError(
                "ProgressiveSizeHook sets the size by epoch and needs an EpochBasedTrainLoop, got "
                f"{type(runner.train_loop).__name__}: take the hook out, or train by epochs"
            )
        preprocessor = unwrapped(runner.model).data_preprocessor
        if not isinstance(preprocessor, TwoViewDataPreprocessor):
            raise ValueError(
                "ProgressiveSizeHook sets the views of a TwoViewDataPreprocessor, the model has a "
                f"{type(preprocessor).__name__}: make the views on the device "
                "(configs/xmoco_r50_8xb32_deviceviews.py), or take the hook out"
            )

    def before_train_epoch(self, runner: Runner) -> None:
        """Set this epoch's size; a change is logged."""
        preprocessor = unwrapped(runner.model).data_preprocessor
        size = self.size(runner.epoch, runner.max_epochs)
        if any(recipe.shape != (size, size) for recipe in preprocessor.recipes):
            preprocessor.resize_views(size)
            runner.logger.info(f"ProgressiveSizeHook: views of {size} px from here on")
