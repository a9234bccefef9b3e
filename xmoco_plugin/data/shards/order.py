# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The order of an epoch over shards: a function of the seed, and of nothing that a machine is."""

from collections.abc import Sequence

import numpy as np
import torch

MIXED = 64  # shards that are read at a time (ours): a power of two, which processes divide


def epoch_order(lengths: Sequence[int] | np.ndarray, seed: int, mixed: int = MIXED) -> np.ndarray:
    """Every image once, drawn by turns from ``mixed`` lanes of shuffled shards.

    Shards are shuffled, and the images in each; this row is cut into lanes of one length, and the
    order takes an image of each lane in turn. Image p comes from lane p mod ``mixed``: of W
    processes that take every W-th image, each reads the shards of its own lanes alone, if W
    divides ``mixed``, and together they read each shard once.

    Args:
        lengths: Images of each shard.
        seed: Of the order.
        mixed: Lanes; less where there are fewer images.

    Returns:
        (N,) int64, a permutation of the images, which are numbered through the shards.
    """
    random = torch.Generator().manual_seed(seed)
    sizes = np.asarray(lengths, dtype=np.int64)
    starts = np.cumsum(sizes) - sizes
    shards = torch.randperm(len(sizes), generator=random).tolist()
    parts = [starts[s] + torch.randperm(int(sizes[s]), generator=random).numpy() for s in shards]
    row = np.concatenate(parts)
    lanes = min(mixed, len(row))
    each, more = divmod(len(row), lanes)
    numbers = np.arange(lanes)
    begins = numbers * each + np.minimum(numbers, more)
    order = (begins[None, :] + np.arange(each)[:, None]).ravel()
    return row[np.concatenate([order, begins[:more] + each])]
