# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import random
from types import SimpleNamespace

import numpy as np
import torch
from mmengine.dataset import default_collate
from mmpretrain.models import SelfSupDataPreprocessor
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import DataLoader

from xmoco_plugin.visualization import choose_images, fixed_randomness
from xmoco_plugin.visualization.fixed_views import fixed_views

from ..tiny_runner import TinyImages


def draw() -> tuple:
    return random.random(), np.random.rand(), torch.rand(1).item()


def test_all_three_generators_go_on_as_if_nothing_had_been_drawn():
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    expected = [draw(), draw()]
    random.seed(1), np.random.seed(1), torch.manual_seed(1)
    first = draw()
    with fixed_randomness(7):
        inside = draw()
    assert [first, draw()] == expected
    with fixed_randomness(7):
        assert draw() == inside


def test_the_state_comes_back_after_an_error():
    torch.manual_seed(1)
    state = torch.get_rng_state()
    try:
        with fixed_randomness(7):
            draw()
            raise KeyError
    except KeyError:
        assert torch.equal(state, torch.get_rng_state())


def test_images_come_sorted_by_class_and_alike_many_of_each():
    indices, labels = choose_images(TinyImages(size=48, num_classes=4), 16)
    assert labels == [0] * 4 + [1] * 4 + [2] * 4 + [3] * 4
    assert [i % 4 for i in indices] == labels
    assert len(set(indices)) == 16


def test_images_that_do_not_divide_evenly_are_all_shown():
    indices, labels = choose_images(TinyImages(size=50, num_classes=5), 16, 16)
    assert labels == [0] * 4 + [1] * 3 + [2] * 3 + [3] * 3 + [4] * 3
    assert len(set(indices)) == 16


def test_many_classes_are_represented_by_eight():
    _, labels = choose_images(TinyImages(size=400, num_classes=40), 64)
    assert sorted(set(labels)) == [0, 5, 10, 15, 20, 25, 30, 35]
    assert len(labels) == 64


def test_fewer_images_than_asked_for_are_all_taken():
    indices, _ = choose_images(TinyImages(size=6, num_classes=2), 64)
    assert sorted(indices) == list(range(6))


class Noise(torch.utils.data.Dataset):
    """Images of noise through a pipeline."""

    def __init__(self, *steps: dict) -> None:
        self.steps = [TRANSFORMS.build(step) for step in (*steps, dict(type="PackInputs"))]

    def __len__(self) -> int:
        return 4

    def __getitem__(self, place: int) -> dict:
        image = np.random.default_rng(place).integers(0, 256, (24, 24, 3), dtype=np.uint8)
        results = dict(img=image)
        for step in self.steps:
            results = step(results)
        return results


def views_of(step: dict) -> list | None:
    loader = DataLoader(Noise(step), collate_fn=default_collate)
    model = SimpleNamespace(data_preprocessor=SelfSupDataPreprocessor(mean=[0], std=[1]))
    return fixed_views(loader, model, [0, 3], seed=5)


def test_a_pipeline_of_one_view_is_asked_for_two_of_the_same_images():
    recipe = dict(type="OneView", views=dict(recipe="mocov2", size=8))
    one, two = views_of(recipe)
    assert one.shape == two.shape == (2, 3, 8, 8)
    assert not torch.equal(one, two)
    again = views_of(recipe)
    assert torch.equal(torch.stack(again), torch.stack([one, two]))


def test_an_image_as_it_is_is_no_view():
    assert views_of(dict(type="Resize", scale=(8, 8))) is None
