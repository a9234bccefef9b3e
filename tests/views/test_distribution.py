# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The views are distributed as mmpretrain's on the CPU: what was drawn is read off the pixels."""

import colorsys
import itertools

import numpy as np
import pytest
import torch
from mmpretrain.datasets.transforms import ColorJitter, GaussianBlur, RandomResizedCrop
from scipy.stats import chisquare, ks_2samp

from xmoco_plugin.views import build_recipes, draw_parameters, render_views

MANY = 3000
PLAIN = dict(
    crop_scale=(1, 1), crop_ratio=(1, 1), jitter_prob=0, grey_prob=0, blur_prob=0, flip_prob=0
)
STILL = dict(jitter_prob=1, brightness=0, contrast=0, saturation=0, hue=0)


def views_of(image, size, recipe="mocov2", n=MANY, **changes) -> torch.Tensor:
    """Many first views, (n, 3, size, size), of one uint8 image (H, W, 3); plain but for changes."""
    made = build_recipes({"recipe": recipe, "size": size, **PLAIN, **changes})[0]
    drawn = draw_parameters(made, [image.shape[:2]] * n, np.random.default_rng(0))
    image = torch.from_numpy(image)
    return render_views([image] * n, [(made, drawn)])[0]


def constant(*rgb, side=4) -> np.ndarray:
    return np.full((side, side, 3), rgb, np.uint8)


def same_distribution(found, expected) -> bool:
    return ks_2samp(np.asarray(found), np.asarray(expected)).pvalue > 1e-3


def share_of(mask, probability) -> bool:
    """Within four standard deviations."""
    deviation = np.sqrt(probability * (1 - probability) / len(mask))
    return abs(np.mean(np.asarray(mask)) - probability) < 4 * deviation


@pytest.fixture(autouse=True)
def seeded():
    np.random.seed(0)


@pytest.mark.parametrize(("height", "width"), [(48, 64), (20, 80)])
@pytest.mark.parametrize("scale", [(0.2, 1.0), (0.08, 1.0)])
def test_crops_have_the_hosts_area_ratio_and_place(height, width, scale):
    # Red counts the columns, green the rows: two inner pixels of a view tell its box.
    image = np.zeros((height, width, 3), np.uint8)
    image[..., 0], image[..., 1] = np.arange(width), np.arange(height)[:, None]
    views = views_of(image, 8, crop_scale=scale, crop_ratio=(3 / 4, 4 / 3)).double().numpy()
    step_x = (views[:, 0, 4, 5] - views[:, 0, 4, 2]) / 3
    step_y = (views[:, 1, 5, 4] - views[:, 1, 2, 4]) / 3
    box_width, box_height = np.rint(8 * step_x), np.rint(8 * step_y)
    left = np.rint(views[:, 0, 4, 2] + 0.5 - 2.5 * step_x)
    top = np.rint(views[:, 1, 2, 4] + 0.5 - 2.5 * step_y)
    host = RandomResizedCrop(scale=8, crop_ratio_range=scale, backend="pillow")
    expected = np.array([host.rand_crop_params(image) for _ in range(MANY)])  # top, left, h, w
    assert same_distribution(box_width * box_height, expected[:, 2] * expected[:, 3])
    assert same_distribution(box_width / box_height, expected[:, 3] / expected[:, 2])
    assert same_distribution(left, expected[:, 1])
    assert same_distribution(top, expected[:, 0])


def test_jitter_factors_are_the_hosts():
    options = dict(brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
    host = ColorJitter(**options)
    expected = np.array([host._rand_params()[1:] for _ in range(MANY)], dtype=float)
    colour = constant(140, 110, 80)
    halves = constant(110, 110, 110)
    halves[:2] = 130
    found = {
        "brightness": views_of(colour, 4, **{**STILL, "brightness": 0.4})[:, 0, 0, 0] / 140,
        "contrast": (lambda v: (v[:, 0, 0, 0] - v[:, 0, 3, 0]) / 20)(
            views_of(halves, 4, **{**STILL, "contrast": 0.4})
        ),
        "saturation": (lambda v: (v[:, 0, 0, 0] - v[:, 2, 0, 0]) / 60)(
            views_of(colour, 4, **{**STILL, "saturation": 0.4})
        ),
        "hue": [
            (colorsys.rgb_to_hsv(*pixel)[0] - colorsys.rgb_to_hsv(140, 110, 80)[0] + 0.5) % 1 - 0.5
            for pixel in views_of(colour, 4, **{**STILL, "hue": 0.1})[:, :, 0, 0].tolist()
        ],
    }
    for column, (name, values) in enumerate(found.items()):
        assert same_distribution(values, expected[:, column]), name
        assert np.std(np.asarray(values)) > 0.05, name


def test_every_order_of_the_jitter_is_as_frequent():
    drawn = draw_parameters(build_recipes("mocov2")[0], [(8, 8)] * MANY, np.random.default_rng(0))
    orders = [tuple(order) for order in drawn.order.tolist()]
    counts = [orders.count(order) for order in itertools.permutations(range(4))]
    assert sum(counts) == MANY
    assert chisquare(counts).pvalue > 1e-3


def test_blur_has_the_hosts_widths_and_its_share():
    host = GaussianBlur(magnitude_range=(0.1, 2.0), magnitude_std="inf", prob=0.5)
    expected = [host.random_magnitude() for _ in range(MANY)]
    point = constant(0, 0, 0, side=25)
    point[12, 12] = 255
    views = views_of(point, 25, n=1000, blur_prob=0.5).double()
    place = torch.arange(25.0).double() - 12
    variance = (views[:, 0].sum(dim=1) * place.square()).sum(dim=1) / views[:, 0].sum(dim=(1, 2))
    blurred = (views[:, 0, 12, 12] < 255 - 1e-3) | (variance > 1e-6)
    # Below a third of a pixel a sampled Gaussian is narrower than its sigma says.
    wide = [sigma for sigma in expected if sigma > 0.5]
    assert same_distribution([s for s in variance.sqrt().tolist() if s > 0.5], wide)
    # The narrowest ones change nothing that shows: sigma < 0.13 of (0.1, 2).
    assert abs(blurred.double().mean() - 0.5) < 0.08


def test_shares_of_jittered_grey_solarized_and_mirrored_views_are_the_recipes():
    colour = constant(200, 150, 50)
    colour[:, 0] = 0
    jittered = views_of(colour, 4, **{**STILL, "jitter_prob": 0.8, "brightness": 0.4})
    assert share_of((jittered[:, 0, 0, 2] - 200).abs() > 1e-3, 0.8)
    grey = views_of(colour, 4, grey_prob=0.2)
    assert share_of((grey[:, 0] - grey[:, 2]).abs().amax(dim=(1, 2)) < 1e-3, 0.2)
    solarized = views_of(colour, 4, solarize_prob=0.2)
    assert share_of((solarized[:, 0, 0, 2] - 55).abs() < 1e-3, 0.2)
    mirrored = views_of(colour, 4, flip_prob=0.5)
    assert share_of(mirrored[:, 0, 0, 3] < 1e-3, 0.5)


def test_parameters_of_the_images_of_a_batch_and_of_its_views_are_independent():
    rng = np.random.default_rng(0)
    sizes = [(60, 80)] * MANY
    first, second = (draw_parameters(r, sizes, rng) for r in build_recipes("mocov2"))
    columns = [
        first.box[:, 0],
        first.box[:, 2],
        second.box[:, 0],
        first.factors[:, 0],
        second.factors[:, 0],
        first.factors[:, 3],
        first.sigma,
        first.grey,
        first.flip,
    ]
    correlation = np.corrcoef(np.array(columns, dtype=float))
    # A crop's place depends on its size.
    correlation[0, 1] = correlation[1, 0] = 0
    assert np.abs(correlation - np.eye(len(columns))).max() < 4.5 / np.sqrt(MANY)
    following = np.corrcoef(first.factors[:-1, 0], first.factors[1:, 0])[0, 1]
    assert abs(following) < 4.5 / np.sqrt(MANY)
