# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import inspect

import torch
from torch import nn


def leave_pairs_to(algorithm: nn.Module) -> None:
    """Lets the algorithm's head leave its terms to the algorithm, which has the embeddings.

    Raises:
        ValueError: its head has no terms.
    """
    if not hasattr(algorithm.head, "with_terms"):
        raise ValueError(
            f"{type(algorithm).__name__} needs head=dict(type='RegularizedHead', "
            f"head=_base_.model.head, consistency=dict(), uniformity=dict()); got "
            f"{type(algorithm.head).__name__}"
        )
    algorithm.head.pairs_from_algorithm = True


def query_key_pairs(inputs, symmetric: bool) -> list[tuple[torch.Tensor, torch.Tensor]]:
    """Which view is the query and which the key, in each pass over a batch of two views.

    Args:
        inputs: two views, each (n, 3, H, W).
        symmetric: add a second pass with the roles swapped.

    Raises:
        ValueError: it has another number of them.
    """
    if not isinstance(inputs, list | tuple) or len(inputs) != 2:
        listed = isinstance(inputs, list | tuple)
        found = f"{len(inputs)} views" if listed else f"a {type(inputs).__name__}"
        raise ValueError(
            "XMoCo needs two views of each image: use the MultiView transform with "
            f"num_views=2; got {found}"
        )
    first, second = inputs
    return [(first, second), (second, first)] if symmetric else [(first, second)]


def require_queue_head(head: nn.Module) -> None:
    """Raises TypeError for a head that takes no queue."""
    if "queue" not in inspect.signature(head.loss).parameters:
        raise TypeError(
            f"XMoCo's head gets embeddings, loss(q, k, queue); {type(head).__name__} does "
            "not: use head=dict(type='XMoCoHead', temperature=..., consistency=dict(), "
            "uniformity=dict())"
        )
