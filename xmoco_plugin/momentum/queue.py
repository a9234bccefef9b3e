# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch


@torch.no_grad()
def write_ring(queue: torch.Tensor, start: int, keys: torch.Tensor) -> int:
    """Write keys into the ring, oldest slot first, as if they came one by one.

    Args:
        queue: (D, K), changed in place.
        start: slot of the oldest key, 0 <= start < K.
        keys: (N, D), any N >= 0; of more than K, the last K remain.

    Returns:
        The slot that is now the oldest, (start + N) mod K.

    Raises:
        ValueError: where the keys are not (N, D) for this queue, or start is no slot of it.
    """
    dim, length = queue.shape
    if keys.ndim != 2 or keys.shape[1] != dim:
        raise ValueError(f"keys must be (N, {dim}) for this queue, got {tuple(keys.shape)}")
    if not 0 <= start < length:
        raise ValueError(f"start must be a slot of the queue of {length}, got {start}")
    end = (start + len(keys)) % length
    keys = keys[-length:] if len(keys) > length else keys
    begin = (end - len(keys)) % length
    before_wrap = min(len(keys), length - begin)
    queue[:, begin : begin + before_wrap] = keys[:before_wrap].T
    queue[:, : len(keys) - before_wrap] = keys[before_wrap:].T
    return end


def filled_slots(queue: torch.Tensor) -> int:
    """Number of slots that hold a key, where unfilled ones are zero; asks the device.

    Args:
        queue: (D, K), filled from slot 0 on.
    """
    return int(queue.any(dim=0).sum().item())
