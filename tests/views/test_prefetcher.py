# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch
from torch.utils.data import DataLoader

from tests.views.test_two_view_data_preprocessor import BGR, build
from xmoco_plugin.views import PackRaggedInputs, Prefetcher, PreparedBatch, ragged_collate


def loader(**options) -> DataLoader:
    samples = [PackRaggedInputs()(dict(img=image)) for image in BGR * 2]
    return DataLoader(samples, batch_size=2, collate_fn=ragged_collate, **options)


def pairs(first, second) -> list[bool]:
    return [torch.equal(a, b) for a, b in zip(first["inputs"], second["inputs"], strict=True)]


@pytest.mark.parametrize("options", [{}, dict(num_workers=1, persistent_workers=True)])
def test_every_epoch_has_the_views_that_the_preprocessor_makes_batch_by_batch(options):
    preprocessor, plain = build(), loader(**options)
    torch.manual_seed(0)
    expected = [[preprocessor(x, training=True) for x in plain] for _ in range(2)]
    torch.manual_seed(0)
    # A loader of its own: workers that stay have drawn their seed.
    prefetcher = Prefetcher(loader(**options), preprocessor)
    for epoch in expected:
        seen = 0
        for batch, views in zip(prefetcher, epoch, strict=True):
            prefetcher.prepare()  # after a step; again changes nothing
            prefetcher.prepare()
            assert pairs(batch, views) == [True, True]
            seen += 1
        assert seen == len(prefetcher) == 4


def test_the_next_batch_begins_when_asked_for_and_not_before():
    begun = []
    prefetcher = Prefetcher(range(3), lambda data, training: begun.append(data) or dict(inputs=[]))
    batches = iter(prefetcher)
    next(batches)
    assert begun == [0]
    prefetcher.prepare()
    assert begun == [0, 1]
    next(batches)
    assert begun == [0, 1]
    next(batches)  # nobody asked: it is made when it is needed
    assert begun == [0, 1, 2]
    prefetcher.prepare()
    assert list(batches) == []


def test_an_epoch_that_was_left_leaves_nothing_to_the_next():
    prefetcher = Prefetcher(range(3), lambda data, training: dict(inputs=[], data=data))
    for _ in prefetcher:
        prefetcher.prepare()
        break
    assert [batch["data"] for batch in prefetcher] == [0, 1, 2]


def test_all_else_is_the_loaders():
    batches = loader()
    prefetcher = Prefetcher(batches, build())
    assert prefetcher.sampler is batches.sampler
    assert (prefetcher.batch_size, prefetcher.drop_last) == (2, False)
    with pytest.raises(AttributeError, match="no_such"):
        _ = prefetcher.no_such


def test_a_prepared_batch_passes_the_preprocessor_as_it_is():
    batch = PreparedBatch(inputs=[torch.zeros(1, 3, 4, 4)] * 2)
    assert build()(batch, training=True) is batch


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_side_stream_makes_the_same_views_and_nothing_synchronizes():
    preprocessor, batches = build(non_blocking=True).cuda(), loader(pin_memory=True)
    torch.manual_seed(0)
    expected = [preprocessor(x, training=True) for x in batches]  # first calls load kernels
    prefetcher = Prefetcher(batches, preprocessor, torch.cuda.Stream())
    work = torch.randn(4096, 4096, device="cuda")
    for _ in range(2):  # the second time the side stream's memory is there
        torch.manual_seed(0)
        got = []
        torch.cuda.set_sync_debug_mode("error")
        try:
            for batch in prefetcher:
                for _ in range(20):  # a step that the default stream is still at
                    work = work @ work * 1e-2
                prefetcher.prepare()
                got.append([view.clone() for view in batch["inputs"]])
        finally:
            torch.cuda.set_sync_debug_mode("default")
    for ours, theirs in zip(got, expected, strict=True):
        assert pairs(dict(inputs=ours), theirs) == [True, True]
