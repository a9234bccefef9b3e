# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One draw of transformations for several images, and views that differ in strength."""

from dataclasses import fields

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmpretrain.datasets import PackInputs
from mmpretrain.registry import TRANSFORMS

from tests.views.test_two_view_data_preprocessor import BGR, batch, build, seeded
from xmoco_plugin.views import build_recipes, draw_parameters

RECIPE = build_recipes("mocov2")[0]


def test_images_in_a_row_share_a_draw_and_the_next_ones_have_another():
    drawn = draw_parameters(RECIPE, [(60, 80)] * 7, np.random.default_rng(0), shared_draws=3)
    groups = [[0, 1, 2], [3, 4, 5], [6]]
    for field in fields(drawn):
        rows = getattr(drawn, field.name)
        for group in groups:
            assert (rows[group] == rows[group[0]]).all(), field.name
    assert len(np.unique(drawn.factors[:, 0])) == len(np.unique(drawn.box, axis=0)) == 3


def test_a_crop_of_an_image_of_another_size_is_the_same_share_of_it():
    sizes = [(60, 80), (120, 80), (30, 160), (1, 1), (60, 80)]
    for seed in range(50):
        drawn = draw_parameters(RECIPE, sizes, np.random.default_rng(seed), shared_draws=4)
        first, tall, wide, pixel, _ = drawn.box
        np.testing.assert_array_equal(tall, first * [2, 1, 2, 1])
        assert np.abs(wide - first * [0.5, 2, 0.5, 2]).max() <= 1
        assert (pixel == [0, 0, 1, 1]).all()
        assert (drawn.box[:, 2:] >= 1).all()
        assert (drawn.box[:, :2] + drawn.box[:, 2:] <= np.array(sizes)).all()


def test_on_the_device_two_equal_images_of_a_pair_look_alike_and_those_of_two_pairs_do_not():
    data = batch([BGR[0]] * 4)
    for view in seeded(build(shared_draws=2), data):
        assert torch.equal(view[0], view[1])
        assert torch.equal(view[2], view[3])
        assert not torch.equal(view[0], view[2])
    first, second = seeded(build(shared_draws=2), data)
    assert not torch.equal(first, second)
    alone = seeded(build(), data)[0]
    assert not torch.equal(alone[0], alone[1])


@pytest.mark.parametrize("views", ["mocov2", "mocov2_weak_key"])
def test_in_a_worker_two_equal_images_in_a_row_look_alike_and_the_third_does_not(views):
    config = dict(type="TwoViews", views=dict(recipe=views, size=32), shared_draws=2)
    transform = TRANSFORMS.build(config)
    np.random.seed(0)
    made = [transform(dict(img=BGR[0]))["img"] for _ in range(4)]
    for view in range(2):
        assert np.array_equal(made[0][view], made[1][view])
        assert np.array_equal(made[2][view], made[3][view])
        assert not np.array_equal(made[0][view], made[2][view])
    larger = np.repeat(np.repeat(BGR[0], 2, axis=0), 2, axis=1)
    np.random.seed(0)
    small, large = (transform(dict(img=image))["img"] for image in (BGR[0], larger))
    for one, other in zip(small, large, strict=True):
        assert np.abs(one.astype(int) - other).mean() < 4  # the same crop at twice the size


def test_a_weak_key_on_the_device_is_the_image_itself_where_crop_and_flip_are_off():
    square = [np.ascontiguousarray(BGR[0][:40, :40])] * 4
    still = dict(size=40, crop_scale=(1, 1), crop_ratio=(1, 1), flip_prob=0)
    preprocessor = build(views=dict(still, recipe="mocov2_weak_key"))
    query, key = seeded(preprocessor, batch(square))
    data = batch(square, PackInputs, default_collate)
    image = preprocessor(data, training=False)["inputs"]
    assert torch.allclose(key, image, atol=1e-4)
    assert not torch.allclose(query, image, atol=0.1)


@pytest.mark.parametrize("number", [0, -2, 1.5, True])
def test_a_number_of_images_that_is_none_is_refused_by_both_paths(number):
    for make in (
        lambda: TRANSFORMS.build(dict(type="TwoViews", shared_draws=number)),
        lambda: build(shared_draws=number),
    ):
        with pytest.raises(ValueError, match=f"shared_draws is a number of images.*{number}"):
            make()
