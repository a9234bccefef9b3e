# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..distributed import unwrapped


@HOOKS.register_module()
class LossWarmupHook(Hook):
    """Raises the weight of loss terms linearly from 0 to their full value.

    Sets ``model.head.<term>.weight_factor`` before each iteration t (counted from 0) to
    clip((t - begin) / length, 0, 1). The factor depends on t alone, so a resumed run has the value
    it would have had.

    Args:
        epochs: length of the warm-up in epochs; give this or ``iters``.
        iters: length of the warm-up in iterations.
        terms: attributes of the head. A term that the config switched off (None) is left out.
        begin: where the warm-up begins, in the unit of the length. Default 0.
    """

    def __init__(
        self,
        epochs: float | None = None,
        iters: int | None = None,
        terms: Sequence[str] = ("consistency", "uniformity"),
        begin: float = 0,
    ) -> None:
        if (epochs is None) == (iters is None):
            raise ValueError(
                f"LossWarmupHook takes either epochs or iters, got epochs={epochs}, iters={iters}"
            )
        length = epochs if iters is None else iters
        if length is None or length <= 0 or begin < 0:
            raise ValueError(
                f"the warm-up needs a positive length and begin >= 0, got {length} and {begin}"
            )
        self.length, self.begin, self.by_epoch = length, begin, iters is None
        self.terms = (terms,) if isinstance(terms, str) else tuple(terms)

    def factor(self, iteration: int, iters_per_epoch: int) -> float:
        """Factor in [0, 1] of an iteration counted from 0."""
        unit = iters_per_epoch if self.by_epoch else 1
        return min(max((iteration - self.begin * unit) / (self.length * unit), 0.0), 1.0)

    def before_train(self, runner: Runner) -> None:
        """Find the terms, and say which are left out.

        Raises:
            ValueError: the head has no such term; the message lists those it has.
        """
        head = self._head(runner)
        for term in self.terms:
            if not hasattr(head, term):
                raise ValueError(_no_such_term(term, head))
            if getattr(head, term) is None:
                runner.logger.info(f"LossWarmupHook: {term} is switched off and left out")
            elif not hasattr(getattr(head, term), "weight_factor"):
                raise ValueError(_no_such_term(term, head))

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        """Set the factor of this iteration."""
        factor = self.factor(runner.iter, len(runner.train_dataloader) if self.by_epoch else 1)
        head = self._head(runner)
        for term in self.terms:
            if getattr(head, term) is not None:
                getattr(head, term).weight_factor = factor

    @staticmethod
    def _head(runner: Runner):
        model = unwrapped(runner.model)
        return getattr(model, "head", None)


def _no_such_term(term: str, head) -> str:
    known = (
        [
            name
            for name, part in vars(head).get("_modules", {}).items()
            if hasattr(part, "weight_factor")
        ]
        if head is not None
        else []
    )
    return (
        f"LossWarmupHook: {type(head).__name__} has no term {term!r} with a weight_factor; it has "
        f"{', '.join(known) or 'none'}. Set terms=[...] to terms of your head."
    )
