# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from mmengine.dataset import default_collate
from mmpretrain.datasets import PackInputs
from mmpretrain.registry import TRANSFORMS

from tests.views import reference
from xmoco_plugin.views import build_recipes, draw_parameters, two_views
from xmoco_plugin.views.two_views import view_in_bytes

PHOTOGRAPHS = reference.photographs()
BGR = [np.ascontiguousarray(image[:, :, ::-1]) for image in PHOTOGRAPHS]
# Of 255: a mean over the pixels of a view, the worst and the typical one.
WORST, TYPICAL = 5.0, 2.0


def differences(recipe, seeds=4) -> np.ndarray:
    """Mean |difference| to Pillow's view, of each of many views."""
    found = []
    for seed in range(seeds):
        rng = np.random.default_rng(seed)
        drawn = draw_parameters(recipe, reference.sizes(PHOTOGRAPHS), rng)
        for i, (image, bgr) in enumerate(zip(PHOTOGRAPHS, BGR, strict=True)):
            ours = view_in_bytes(bgr, recipe, drawn, i)[:, :, ::-1].transpose(2, 0, 1)
            theirs = reference.by_pillow(image, recipe, drawn, i)
            found.append(np.abs(ours.astype(float) - theirs).mean())
    return np.array(found)


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", ["mocov1", "mocov2", "mocov3"])
def test_views_are_pillows_but_for_roundings(name, interpolation):
    for recipe in build_recipes(dict(recipe=name, interpolation=interpolation, size=(40, 48))):
        found = differences(recipe)
        assert found.max() < WORST
        assert found.mean() < TYPICAL


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_is_pillows_to_one_grey_level(interpolation):
    recipe = build_recipes(dict(size=48, interpolation=interpolation))[0]
    boxes = draw_parameters(recipe, reference.sizes(BGR), np.random.default_rng(1)).box
    drawn = reference.whole(PHOTOGRAPHS, box=boxes, flip=np.array([True, False, True, False]))
    for i, image in enumerate(PHOTOGRAPHS):
        ours = view_in_bytes(BGR[i], recipe, drawn, i)[:, :, ::-1].transpose(2, 0, 1)
        theirs = reference.by_pillow(image, recipe, drawn, i)
        assert np.abs(ours.astype(int) - theirs).max() <= 1


@pytest.mark.parametrize("step", ["_adjust", "_grey"])
def test_a_transform_that_does_nothing_is_seen(step, monkeypatch):
    monkeypatch.setattr(two_views, step, lambda x, *_, **__: x)
    assert differences(build_recipes(dict(recipe="mocov1", size=40))[0]).max() > 2 * WORST


def test_it_takes_the_place_of_multi_view_and_follows_numpys_seed():
    transform = TRANSFORMS.build(dict(type="TwoViews", views=dict(size=32)))

    def views(seed):
        np.random.seed(seed)
        samples = [PackInputs()(transform(dict(img=image))) for image in BGR]
        return default_collate(samples)["inputs"]

    first, second = views(0)
    assert first.shape == second.shape == (4, 3, 32, 32)
    assert not first.equal(second)
    assert views(0)[0].equal(first)
    assert not views(1)[0].equal(first)


def test_two_recipes_give_each_view_its_own_and_the_image_stays():
    image, before = BGR[0], BGR[0].copy()
    transform = TRANSFORMS.build(
        dict(type="TwoViews", views=[dict(size=16, grey_prob=1), dict(size=24, grey_prob=0)])
    )
    first, second = transform(dict(img=image))["img"]
    assert (first.shape, second.shape) == ((16, 16, 3), (24, 24, 3))
    assert np.array_equal(first[..., 0], first[..., 2])
    assert not np.array_equal(second[..., 0], second[..., 2])
    assert np.array_equal(image, before)


def test_the_image_stays_where_a_crop_needs_no_resize():
    before = BGR[3].copy()
    drawn = reference.whole(
        [before], factors=np.array([[1.4, 0.6, 1.4, 0.1]]), sigma=np.ones(1), flip=np.ones(1, bool)
    )
    recipe = build_recipes(dict(size=before.shape[:2]))[0]
    assert not np.array_equal(view_in_bytes(BGR[3], recipe, drawn), before)
    assert np.array_equal(BGR[3], before)


def test_views_are_packed_without_a_copy():
    views = TRANSFORMS.build(dict(type="TwoViews", views=dict(size=32)))(dict(img=BGR[0]))["img"]
    packed = PackInputs()(dict(img=views))["inputs"]
    for view, tensor in zip(views, packed, strict=True):
        assert tensor.is_contiguous()
        assert tensor.data_ptr() == view.ctypes.data


@pytest.mark.parametrize("size", [(1, 1), (1, 7), (7, 1)])
def test_the_smallest_views_are_views(size):
    recipe = build_recipes(dict(recipe="mocov3", size=size))[0]
    white = np.full((9, 11, 3), 255, np.uint8)
    drawn = reference.whole([white], sigma=np.ones(1), flip=np.ones(1, bool))
    view = view_in_bytes(white, recipe, drawn)
    assert view.shape == (*size, 3)
    assert (view == 255).all()


@pytest.mark.parametrize("sigma", [0.1, 0.5, 1.0, 2.0])
def test_a_blur_is_scipys_to_a_rounding_and_its_cut_tail(sigma):
    image = PHOTOGRAPHS[0]
    drawn = reference.whole([image], sigma=np.full(1, sigma))
    recipe = build_recipes(dict(size=image.shape[:2]))[0]
    ours = view_in_bytes(BGR[0], recipe, drawn)[:, :, ::-1].transpose(2, 0, 1)
    # The tail beyond three standard deviations is 0.3 % of the weight.
    assert np.abs(ours - reference.in_floats(image, recipe, drawn, 0)).max() < 1
