# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Views of any number of channels: what TwoViews makes, in floats, without what mixes colours."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS

from xmoco_plugin.data import ChannelCrop
from xmoco_plugin.views import ChannelViews, OneChannelView
from xmoco_plugin.views.channel_views import view_in_floats
from xmoco_plugin.views.parameters import BRIGHTNESS, CONTRAST, draw_parameters
from xmoco_plugin.views.recipe import RECIPES
from xmoco_plugin.views.two_views import view_in_bytes

PLAIN = dict(saturation=0.0, hue=0.0, grey_prob=0.0)


@pytest.fixture
def image():
    return np.random.default_rng(0).uniform(20, 200, (40, 48, 5)).astype(np.float32)


@pytest.fixture
def drawn():
    """A recipe and a draw of it in which nothing happens but a crop of the whole."""
    recipe = replace(RECIPES["weak"][0], size=(40, 48))
    found = draw_parameters(recipe, [(40, 48)], np.random.default_rng(0))
    still = dict(box=np.array([[0, 0, 40, 48]]), flip=np.array([False]))
    return recipe, replace(found, **still)


def test_three_channels_give_the_views_of_bytes_but_for_their_rounding():
    recipe = replace(RECIPES["mocov3"][1], size=24, contrast=0.0, **PLAIN)
    pixels = np.random.default_rng(1).integers(0, 256, (40, 48, 3), dtype=np.uint8)
    for seed in range(12):
        drawn = draw_parameters(recipe, [(40, 48)], np.random.default_rng(seed))
        bytes_ = view_in_bytes(pixels, recipe, drawn).astype(np.float32)
        floats = view_in_floats(pixels.astype(np.float32), recipe, drawn)
        # Solarized at 128, where a rounding decides, values may jump.
        same = np.abs(bytes_ - floats) < 3
        assert same.mean() > 0.98, seed


def test_brightness_is_one_factor_and_contrast_about_each_channels_own_mean(image, drawn):
    recipe, plain = drawn
    for kind, factor in ((BRIGHTNESS, 0.5), (CONTRAST, 0.5)):
        factors = np.array([[1.0, 1.0, 1.0, 0.0]])
        factors[0, kind] = factor
        found = view_in_floats(image, recipe, replace(plain, factors=factors))
        mean = image.mean(axis=(0, 1)) if kind == CONTRAST else 0
        assert np.allclose(found, image * 0.5 + 0.5 * mean, atol=1e-3)


def test_flips_blurs_and_inversions_work_on_each_channel_by_itself(image, drawn):
    recipe, plain = drawn
    flipped = view_in_floats(image, recipe, replace(plain, flip=np.array([True])))
    assert np.array_equal(flipped, image[:, ::-1])
    inverted = view_in_floats(image, recipe, replace(plain, solarize=np.array([True])))
    assert np.allclose(inverted, np.where(image >= 128, 255 - image, image))
    blurred = replace(plain, sigma=np.array([1.5]))
    together = view_in_floats(image, recipe, blurred)
    for channel in range(5):
        alone = view_in_floats(image[..., channel : channel + 1].copy(), recipe, blurred)
        assert np.allclose(together[..., channel : channel + 1], alone, atol=1e-3)


def test_the_transform_makes_two_views_and_refuses_what_mixes_colours(image):
    np.random.seed(0)
    views = ChannelViews(dict(size=16, **PLAIN)).transform(dict(img=image))["img"]
    assert [view.shape for view in views] == [(16, 16, 5)] * 2
    assert views[0].dtype == np.float32
    assert not np.allclose(views[0], views[1])
    with pytest.raises(ValueError, match="set saturation=0, hue=0, grey_prob=0"):
        ChannelViews("mocov2")


def test_one_view_is_the_first_of_two(image):
    recipe = dict(size=16, **PLAIN)
    unlike = [recipe, recipe | dict(size=24)]
    found = []
    for kind in (ChannelViews, OneChannelView):
        np.random.seed(3)
        found.append(kind(unlike).transform(dict(img=image)))
    two, one = (results["img"] for results in found)
    assert (len(two), len(one)) == (2, 1)
    assert one[0].shape == found[1]["img_shape"] + (5,) == (16, 16, 5)
    np.testing.assert_array_equal(one[0], two[0])
    with pytest.raises(ValueError, match="set saturation=0"):
        OneChannelView("mocov2")


def test_any_number_of_channels_is_normalized():
    build = dict(type="ChannelsDataPreprocessor", mean=[1.0, 2, 3, 4], std=[1.0, 2, 4, 8])
    batch = dict(inputs=torch.full((2, 4, 3, 3), 5.0), data_samples=None)
    found = MODELS.build(build)(batch)["inputs"]
    assert found[1, :, 0, 0].tolist() == [4, 1.5, 0.5, 0.125]
    with pytest.raises(ValueError, match="mean has 4 values and std 1"):
        MODELS.build(build | dict(std=[1.0]))


def test_the_middle_is_cropped_as_of_a_picture(image):
    flat = np.full((32, 64, 5), 7.0, np.float32)
    flat[:, 32:] = 9
    found = ChannelCrop(28).transform(dict(img=flat))["img"]
    assert found.shape == (28, 28, 5)
    assert np.allclose(found[:, :12], 7)
    assert np.allclose(found[:, 16:], 9)
    whole = ChannelCrop(32, short=32).transform(dict(img=flat))["img"]
    assert np.array_equal(whole, flat[:, 16:48])
