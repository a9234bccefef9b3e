# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Weights that were trained on red, green and blue, for images of other channels."""

from collections.abc import Mapping

import torch

COLOURS = 3


def widen(weight: torch.Tensor, channels: int) -> torch.Tensor:
    """A first convolution for images of other channels (ours).

    Red, green and blue are dealt to the channels in turn, and each is divided by the number of
    channels that it went to. So an image with the same value in all channels gets the response that
    it had. Of fewer than three channels each also bears an equal part of the colours that are left.

    Args:
        weight: (out, 3, ...).
        channels: N, of the images.

    Returns:
        (out, N, ...).
    """
    dealt = torch.zeros(channels, COLOURS, dtype=weight.dtype)
    for channel in range(max(channels, COLOURS)):
        if channel < channels:
            dealt[channel, channel % COLOURS] = 1
        else:
            dealt[:, channel] = 1
    dealt /= dealt.sum(dim=0)
    return torch.einsum("nc,oc...->on...", dealt.to(weight.device), weight)


def widened(
    state: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor]
) -> dict[str, torch.Tensor]:
    """A backbone's weights, the first convolution of three channels as wide as the wanted one.

    What differs otherwise is left as it is, and is said where weights are compared.

    Args:
        state: By key.
        wanted: Weights of the backbone, by key.
    """
    found = dict(state)
    for key, value in wanted.items():
        given = found.get(key)
        if given is None or given.ndim < 3 or given.shape == value.shape:
            continue
        if (
            given.shape[1] == COLOURS
            and given.shape[0] == value.shape[0]
            and (given.shape[2:] == value.shape[2:])
        ):
            found[key] = widen(given, value.shape[1])
            print(
                f"{key}: red, green and blue dealt in turn to {value.shape[1]} channels, so that "
                "equal channels give the response that they gave"
            )
    return found
