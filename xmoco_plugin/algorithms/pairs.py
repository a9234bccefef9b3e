# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
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
