# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch

from xmoco_plugin.momentum import filled_slots, write_ring


def one_by_one(queue, slot, keys):
    for key in keys:
        queue[:, slot] = key
        slot = (slot + 1) % queue.shape[1]
    return slot


@pytest.mark.parametrize("length", [1, 4, 7])
def test_ring_equals_writing_one_by_one_for_any_batch_and_start(length):
    generator = torch.Generator().manual_seed(0)
    for start in range(length):
        for count in range(3 * length + 1):
            queue = torch.randn(2, length, generator=generator)
            keys = torch.randn(count, 2, generator=generator)
            expected = queue.clone()
            end = one_by_one(expected, start, keys)
            assert write_ring(queue, start, keys) == end
            assert torch.equal(queue, expected)


def test_ring_refuses_keys_of_another_width_and_a_slot_outside():
    with pytest.raises(ValueError, match=r"\(N, 2\).*got \(3, 5\)"):
        write_ring(torch.zeros(2, 4), 0, torch.zeros(3, 5))
    with pytest.raises(ValueError, match="queue of 4, got 4"):
        write_ring(torch.zeros(2, 4), 4, torch.zeros(3, 2))


def test_filled_slots_counts_the_columns_that_hold_a_key():
    queue = torch.zeros(3, 5)
    assert filled_slots(queue) == 0
    write_ring(queue, 0, torch.tensor([[0.0, -1.0, 0.0], [1.0, 0.0, 0.0]]))
    assert filled_slots(queue) == 2
