# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from ..evaluation.diagnostics import pixel_thumbnails
from ..evaluation.step_health import Compared
from ..precision import at_least_float32, unit_norm


class EmbeddingCapture:
    """Listens to what the head of a self-supervised algorithm is given.

    ``model.head.loss`` is called as a method, where torch has no hooks: it is wrapped until
    ``close``. A predictor in the head and the model's neck are listened to by forward hooks. What
    the arguments are is told by their shapes, so any head will do that gets

    - (n, D), (n, D), (D, K): queries, keys, queue (``XMoCoHead``);
    - (n, D), (n, D): two sets of embeddings (MoCo v3, BYOL, SimSiam, Barlow Twins);
    - (n, 1), (n, K): similarities (mmpretrain's MoCo, SimCLR); the queries are the neck's output.

    Both views of the images are taken, as thumbnails, from the model's ``data_preprocessor``.

    Nothing is kept unless ``listening`` is set; then the first call is.

    Args:
        model: the algorithm, unwrapped, with ``head``.
    """

    def __init__(self, model: nn.Module) -> None:
        self.listening = False
        self._arguments: list[torch.Tensor] = []
        self._predicted: torch.Tensor | None = None
        self._projected: torch.Tensor | None = None
        self._views: tuple[torch.Tensor, torch.Tensor] | None = None
        self._head = model.head
        self._head.loss = self._wrap(self._head.loss)
        self._handles = [
            module.register_forward_hook(self._keep_prediction)
            for name, module in self._head.named_modules()
            if name.split(".")[-1] == "predictor"
        ][:1]
        if isinstance(getattr(model, "neck", None), nn.Module):
            self._handles.append(model.neck.register_forward_hook(self._keep_projection))
        if isinstance(getattr(model, "data_preprocessor", None), nn.Module):
            self._handles.append(model.data_preprocessor.register_forward_hook(self._keep_views))

    def take(self) -> Compared | None:
        """What was heard since ``listening`` was set, which is unset; None where nothing was."""
        arguments, self._arguments = self._arguments, []
        predicted, self._predicted = self._predicted, None
        projected, self._projected = self._projected, None
        views, self._views = self._views, None
        self.listening = False
        if len(arguments) < 2 or any(a.ndim != 2 for a in arguments[:2]):
            return None
        first, second = (at_least_float32(a) for a in arguments[:2])
        if first.shape[1] == 1 and len(first) == len(second):
            q = None if projected is None else unit_norm(projected)
            return Compared(q=q, positive=first[:, 0], negative=second, views=views)
        if first.shape != second.shape:
            return None
        query = unit_norm(first if predicted is None else predicted)
        found = Compared(q=query, k=unit_norm(second), views=views)
        if len(arguments) > 2 and arguments[2].ndim == 2 and len(arguments[2]) == first.shape[1]:
            found.queue = at_least_float32(arguments[2])
        return found if query.shape == second.shape else None

    def close(self) -> None:
        """Give the head its own method back."""
        vars(self._head).pop("loss", None)
        for handle in self._handles:
            handle.remove()

    def _wrap(self, loss: Any) -> Any:
        def listened(*args: Any, **kwargs: Any) -> Any:
            if self.listening and not self._arguments:
                given = [*args, *kwargs.values()]
                self._arguments = [a.detach() for a in given if isinstance(a, torch.Tensor)]
            return loss(*args, **kwargs)

        return listened

    def _keep_prediction(self, module: nn.Module, args: tuple, output: Any) -> None:
        if self.listening and self._predicted is None:
            self._predicted = _first(output)

    def _keep_projection(self, module: nn.Module, args: tuple, output: Any) -> None:
        if self.listening and self._projected is None:
            self._projected = _first(output)

    @torch.no_grad()
    def _keep_views(self, module: nn.Module, args: tuple, output: Any) -> None:
        inputs = output.get("inputs") if isinstance(output, dict) else None
        if self.listening and isinstance(inputs, list | tuple) and len(inputs) >= 2:
            first, second = inputs[:2]
            if first.ndim == 4 and first.shape == second.shape:
                self._views = pixel_thumbnails(first), pixel_thumbnails(second)


def temperature_of(head: nn.Module) -> float | None:
    """The temperature of the head's contrastive loss, also of a head inside it; None without one.

    The similarity terms have temperatures of their own; they are no heads, and have no ``loss``.
    """
    for module in head.modules():
        if callable(getattr(module, "loss", None)) and hasattr(module, "temperature"):
            return float(module.temperature)
    return None


def _first(output: Any) -> torch.Tensor | None:
    if isinstance(output, Sequence) and output:
        output = output[0]
    return output.detach() if isinstance(output, torch.Tensor) and output.ndim == 2 else None
