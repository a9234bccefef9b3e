# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A frozen network's weights in bfloat16, made once."""

import contextlib
from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import nn

# Whose weights go into a product and nowhere else. Not their subclasses: some reckon with the
# weight before, such as weight standardization, in float32.
LAYERS = (nn.Linear, nn.Conv1d, nn.Conv2d)


class _Weight(NamedTuple):
    module: nn.Module
    name: str
    whole: nn.Parameter
    version: int
    half: nn.Parameter

    @property
    def fresh(self) -> bool:
        """Whether it is still what the network holds."""
        there = self.module._parameters[self.name]
        return (
            there is self.whole
            and there._version == self.version
            and there.device == self.half.device
        )


class HalfWeights:
    """Lends a frozen network its weights in bfloat16 while it computes under autocast.

    Autocast keeps what it has cast only of weights that are trained. Those of a frozen network it
    casts anew in every pass, all of them. The values that come out are the same, bit for bit, and
    the network holds its own weights before and after: they are what is written to files.

    Args:
        network: frozen.
    """

    def __init__(self, network: nn.Module) -> None:
        self._network = network
        self._weights: list[_Weight] = []

    @contextlib.contextmanager
    def lent(self) -> Iterator[None]:
        """In which the layers hold bfloat16. They are cast anew if somebody has changed them."""
        if not (self._weights and all(weight.fresh for weight in self._weights)):
            self._weights = [*_cast(self._network)]
        try:
            for weight in self._weights:
                weight.module._parameters[weight.name] = weight.half
            yield
        finally:
            for weight in self._weights:
                weight.module._parameters[weight.name] = weight.whole


def _cast(network: nn.Module) -> Iterator[_Weight]:
    for module in network.modules():
        if type(module) not in LAYERS:
            continue
        for name, whole in module._parameters.items():
            if whole is None or whole.requires_grad or whole.is_inference():
                continue  # cast by autocast, or of no known version
            if whole.dtype == torch.float32:
                half = nn.Parameter(whole.detach().bfloat16(), requires_grad=False)
                yield _Weight(module, name, whole, whole._version, half)
