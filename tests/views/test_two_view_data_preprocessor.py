# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate, pseudo_collate
from mmpretrain.datasets import PackInputs
from mmpretrain.registry import MODELS
from torch.utils.data import DataLoader
from torch.utils.data._utils.pin_memory import pin_memory

from tests import models, tiny_runner
from tests.host_copies import HostCopies
from tests.views import reference
from xmoco_plugin.views import PackRaggedInputs, TwoViewDataPreprocessor, ragged_collate
from xmoco_plugin.visualization import fixed_randomness

PHOTOGRAPHS = reference.photographs()
BGR = [np.ascontiguousarray(image[:, :, ::-1]) for image in PHOTOGRAPHS]
STILL = dict(size=32, crop_scale=(1, 1), jitter_prob=0, grey_prob=0, blur_prob=0, flip_prob=0)


def build(**options) -> TwoViewDataPreprocessor:
    options = (
        dict(mean=[123.0, 116.0, 103.0], std=[58.0, 57.0, 56.0], views=dict(size=32), to_rgb=True)
        | options
    )
    return MODELS.build(dict(type="TwoViewDataPreprocessor", **options))


def batch(images, pack=PackRaggedInputs, collate=ragged_collate) -> dict:
    return collate([pack()(dict(img=image, img_path=str(i))) for i, image in enumerate(images)])


def seeded(preprocessor, data, seed=0) -> list[torch.Tensor]:
    torch.manual_seed(seed)
    return preprocessor(data, training=True)["inputs"]


def test_two_normalized_views_of_images_of_unlike_sizes_with_their_samples():
    out = build()(batch(BGR), training=True)
    assert [view.shape for view in out["inputs"]] == [(4, 3, 32, 32)] * 2
    assert [view.dtype for view in out["inputs"]] == [torch.float32] * 2
    assert not torch.equal(*out["inputs"])
    assert [sample.img_path for sample in out["data_samples"]] == ["0", "1", "2", "3"]


def test_bgr_is_converted_and_normalized_as_the_host_does():
    square = [np.ascontiguousarray(image[:40, :40]) for image in BGR]
    whole = build(views=dict(STILL, size=40, crop_ratio=(1, 1)))
    views = whole(batch(square), training=True)["inputs"]
    data = batch(square, PackInputs, default_collate)
    host = MODELS.build(
        dict(
            type="SelfSupDataPreprocessor",
            mean=[123.0, 116.0, 103.0],
            std=[58.0, 57.0, 56.0],
            to_rgb=True,
        )
    )
    expected = host(data, training=True)["inputs"]
    assert torch.allclose(views[0], expected, atol=1e-5)
    assert torch.allclose(whole(data, training=False)["inputs"], expected)


def test_it_takes_what_every_collate_function_gives():
    preprocessor = build()
    ragged = seeded(preprocessor, batch(BGR))
    listed = seeded(preprocessor, batch(BGR, PackInputs, pseudo_collate))
    assert all(torch.equal(a, b) for a, b in zip(ragged, listed, strict=True))
    square = [image[:40, :40].copy() for image in BGR]
    stacked = seeded(preprocessor, batch(square, PackInputs, default_collate))
    ragged = seeded(preprocessor, batch(square))
    assert all(torch.equal(a, b) for a, b in zip(ragged, stacked, strict=True))


def test_a_restored_generator_gives_the_same_views_and_the_next_batch_others():
    preprocessor, data = build(), batch(BGR)
    first = seeded(preprocessor, data)
    state = torch.get_rng_state()
    second = preprocessor(data, training=True)["inputs"]
    torch.set_rng_state(state)
    again = preprocessor(data, training=True)["inputs"]
    assert torch.equal(second[0], again[0])
    assert not torch.equal(first[0], second[0])


def test_processes_with_one_seed_draw_different_views(monkeypatch):
    preprocessor, data = build(), batch(BGR)
    first = seeded(preprocessor, data)
    module = "xmoco_plugin.views.two_view_data_preprocessor.world"
    monkeypatch.setattr(module, lambda: (1, 2))
    assert not torch.equal(first[0], seeded(preprocessor, data)[0])


def test_a_picture_of_fixed_views_disturbs_nothing():
    preprocessor, data = build(), batch(BGR)
    expected = seeded(preprocessor, data)
    torch.manual_seed(0)
    with fixed_randomness(7):
        preprocessor(data, training=True)
    assert torch.equal(preprocessor(data, training=True)["inputs"][0], expected[0])


def test_mixed_precision_changes_no_pixel():
    # The host's train_step has the preprocessor inside the optimizer wrapper's autocast.
    preprocessor, data = build(), batch(BGR)
    expected = seeded(preprocessor, data)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        views = seeded(preprocessor, data)
    assert [view.dtype for view in views] == [torch.float32] * 2
    assert all(torch.equal(a, b) for a, b in zip(views, expected, strict=True))


@pytest.mark.parametrize("views", ["mocov1", "mocov2", "mocov3"])
def test_no_value_of_the_device_is_asked_for_and_none_of_the_host_is_waited_for(views):
    # Tensors of 'meta' have none: whatever waits for one fails.
    preprocessor = build(views=views, non_blocking=True).to("meta")
    with HostCopies() as copies:
        out = preprocessor(batch(BGR * 4), training=True)["inputs"]
    shapes = [(view.shape, view.is_meta) for view in out]
    assert shapes == [((16, 3, 224, 224), True)] * 2
    assert copies.found == []


def test_a_batch_that_torch_has_pinned_makes_the_same_views(monkeypatch):
    monkeypatch.setattr(torch.Tensor, "pin_memory", lambda self, *args: self)
    pinned = pin_memory(batch(BGR))
    assert all(map(torch.equal, seeded(build(), pinned), seeded(build(), batch(BGR))))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_the_views_are_those_of_the_cpu_and_nothing_synchronizes():
    data = batch(BGR * 4)
    expected = seeded(build(), data)
    preprocessor = build(non_blocking=True).cuda()
    data["inputs"]["pixels"] = data["inputs"]["pixels"].pin_memory()
    seeded(preprocessor, data)  # first calls load kernels
    torch.cuda.set_sync_debug_mode("error")
    try:
        views = seeded(preprocessor, data)
    finally:
        torch.cuda.set_sync_debug_mode("default")
    for ours, theirs in zip(views, expected, strict=True):
        assert (ours.cpu() - theirs).abs().max() < 0.02  # a grey level is 1/57


def test_workers_hand_over_one_buffer_a_batch():
    samples = [PackRaggedInputs()(dict(img=image)) for image in BGR]
    loader = DataLoader(samples, batch_size=4, num_workers=1, collate_fn=ragged_collate)
    inputs = next(iter(loader))["inputs"]
    assert inputs["pixels"].shape == (sum(image.size for image in BGR),)
    assert inputs["sizes"] == reference.sizes(BGR)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (dict(inputs=[torch.zeros(2, 3, 8, 8)] * 2), "float32.*take MultiView out"),
        (dict(inputs=torch.zeros(2, 3, 8, 8)), r"one uint8 image \(3, H, W\)"),
    ],
)
def test_views_made_by_the_pipeline_are_refused(data, message):
    with pytest.raises(ValueError, match=message):
        build()(data, training=True)


def test_packing_and_collating_name_what_does_not_fit():
    with pytest.raises(ValueError, match=r"got list.*no MultiView"):
        PackRaggedInputs()(dict(img=BGR[:2]))
    with pytest.raises(ValueError, match=r"uint8 of shape \(3, 300, 400\).*PackRaggedInputs"):
        batch(BGR[:1], PackInputs)
    with pytest.raises(ValueError, match="'bfloat16'; choose float32 or float16"):
        build(precision="bfloat16")


def test_a_runner_trains_and_validates_with_it_by_a_change_of_one_dict(tmp_path):
    config = models.config(
        data_preprocessor=dict(
            type="TwoViewDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3, views=dict(size=8)
        )
    )
    loader = tiny_runner.loader(views=False, drop_last=True)
    runner = tiny_runner.build(tmp_path, model=config, train_dataloader=loader, validate=True)
    runner.train()
    assert runner.iter == 8
    assert runner.message_hub.get_scalar("val/accuracy/top1").current() > 0
