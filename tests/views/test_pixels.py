# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Given the same parameters, the pixels are those of torch, torchvision, scipy and Pillow."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from tests.views import reference
from xmoco_plugin.views import build_recipes, draw_parameters, render, render_views

PHOTOGRAPHS = reference.photographs()
EXACT = 0.1  # of 255: torchvision's grey has weights of four digits
# In bytes after each of up to nine steps, with a hue in 256 steps: a mean over the pixels.
BYTES_MEAN, BYTES_TYPICAL = 5.0, 2.0


def drawn_views(name, interpolation="bilinear", seed=0, size=(40, 48)):
    """A fresh draw of both views of each photograph: [(recipe, parameters)], [(N, 3, h, w)]."""
    rng = np.random.default_rng(seed)
    recipes = build_recipes(dict(recipe=name, interpolation=interpolation, size=size))
    views = [(r, draw_parameters(r, reference.sizes(PHOTOGRAPHS), rng)) for r in recipes]
    return views, render_views(reference.tensors(PHOTOGRAPHS), views)


def differences(views, rendered, expected):
    """|difference| of each view of each image, (2 N, 3, h, w)."""
    return np.stack(
        [
            np.abs(pixels[i].numpy() - expected(image, recipe, drawn, i).astype(float))
            for (recipe, drawn), pixels in zip(views, rendered, strict=True)
            for i, image in enumerate(PHOTOGRAPHS)
        ]
    )


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
@pytest.mark.parametrize("name", ["mocov1", "mocov2", "mocov3"])
def test_views_are_those_of_float_libraries_to_a_tenth_of_a_grey_level(name, interpolation):
    for seed in range(3):
        views, rendered = drawn_views(name, interpolation, seed)
        found = differences(views, rendered, reference.in_floats)
        # Solarizing jumps by one grey level at its threshold, where a rounding decides.
        assert found.max() < (1 + EXACT if name == "mocov3" else EXACT)
        assert (found > EXACT).mean() < 1e-4


@pytest.mark.parametrize("name", ["mocov1", "mocov2", "mocov3"])
def test_views_are_pillows_but_for_its_rounding_after_every_step(name):
    means = []
    for seed in range(4):
        views, rendered = drawn_views(name, seed=seed)
        means.append(differences(views, rendered, reference.by_pillow).mean(axis=(1, 2, 3)))
    assert np.max(means) < BYTES_MEAN
    assert np.mean(means) < BYTES_TYPICAL


@pytest.mark.parametrize("interpolation", ["bilinear", "bicubic"])
def test_a_crop_is_pillows_antialiased_one_to_a_rounding(interpolation):
    rng = np.random.default_rng(1)
    recipe = build_recipes(dict(size=48, interpolation=interpolation))[0]
    boxes = draw_parameters(recipe, reference.sizes(PHOTOGRAPHS), rng).box
    views = [(recipe, reference.whole(PHOTOGRAPHS, box=boxes))]
    found = differences(
        views, render_views(reference.tensors(PHOTOGRAPHS), views), reference.by_pillow
    )
    # Pillow rounds twice and, with the cubic, saturates in between.
    assert np.quantile(found, 0.999) < 1
    assert found.max() < (1 if interpolation == "bilinear" else 8)


def test_extreme_boxes_stay_finite_and_exact():
    images = [np.ascontiguousarray(PHOTOGRAPHS[0][:h, :w]) for h, w in ((1, 1), (300, 1), (2, 400))]
    recipe = build_recipes(dict(size=(5, 224)))[0]
    views = [(recipe, reference.whole(images))]
    rendered = render_views(reference.tensors(images), views)[0]
    for i, image in enumerate(images):
        expected = reference.in_floats(image, recipe, views[0][1], i)
        assert np.abs(rendered[i].numpy() - expected).max() < EXACT


@pytest.mark.parametrize("step", ["crop_resize", "jitter", "luma", "blur", "solarize"])
def test_a_transform_that_does_nothing_is_seen(step, monkeypatch):
    idle = {
        "crop_resize": lambda x, box, flip, shape, *_: squashed(x, shape),
        "jitter": lambda x, *_: x,
        "luma": lambda x: x,
        "blur": lambda x, *_: x,
        "solarize": lambda x, *_: x,
    }
    monkeypatch.setattr(render, step, idle[step])
    assert any(
        differences(*drawn_views("mocov3", seed=seed), reference.in_floats).max() > 100 * EXACT
        for seed in range(8)
    )


def squashed(x, shape):
    return F.interpolate(x.permute(0, 3, 1, 2).float(), shape, mode="bilinear", antialias=True)


def test_chunks_of_any_size_and_bgr_give_the_same_views():
    views, whole = drawn_views("mocov2")
    images = reference.tensors(PHOTOGRAPHS)
    one_by_one = render_views(images, views, chunk_pixels=1)
    bgr = render_views([image.flip(2) for image in images], views, bgr=True)
    for a, b, c in zip(whole, one_by_one, bgr, strict=True):
        assert torch.allclose(a, b, atol=1e-3)
        assert torch.allclose(a, c, atol=1e-3)


def test_float16_products_are_off_by_less_than_a_third_of_a_grey_level():
    views = [(build_recipes("mocov2")[0], reference.whole(PHOTOGRAPHS))]
    images = reference.tensors(PHOTOGRAPHS)
    (plain,), (half,) = (render_views(images, views, dtype=d) for d in (torch.float32, torch.half))
    assert 0 < (plain - half).abs().max() < 1 / 3


def test_the_images_are_left_as_they_are():
    images = reference.tensors(reference.photographs())
    rng = np.random.default_rng(0)
    recipes = build_recipes("mocov3")
    render_views(images, [(r, draw_parameters(r, reference.sizes(images), rng)) for r in recipes])
    assert all(np.array_equal(a, b) for a, b in zip(images, PHOTOGRAPHS, strict=True))
