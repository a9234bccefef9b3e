# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Features become keys: centred, in the directions in which the images vary, unit norm."""

import pytest
import torch

from xmoco_plugin.teachers import TeacherError, fit_projection, most_dims


def features(n=60, width=10, seed=0):
    """Of which three directions have nearly all of the variance."""
    generator = torch.Generator().manual_seed(seed)
    scale = torch.tensor([5.0, 3.0, 2.0] + [0.1] * (width - 3))
    mixed = torch.linalg.qr(torch.randn(width, width, generator=generator))[0]
    return (torch.randn(n, width, generator=generator) * scale) @ mixed + 40


def test_it_is_the_svd_of_the_centred_features():
    x = features()
    found = fit_projection(x, 3)
    _, singular, right = torch.linalg.svd((x - x.mean(0)).double(), full_matrices=False)
    torch.testing.assert_close(found.mean, x.mean(0))
    torch.testing.assert_close(found.variances.double(), singular**2 / 59, rtol=1e-4, atol=1e-6)
    same = (found.basis.double().T @ right[:3].T).abs()
    torch.testing.assert_close(same, torch.eye(3).double(), rtol=0, atol=1e-5)
    keys = found(x)
    assert keys.shape == (60, 3)
    torch.testing.assert_close(keys.norm(dim=1), torch.ones(60))


def test_fewer_images_than_numbers_give_the_same_keys_as_many_numbers_would():
    x = features(n=8)
    found = fit_projection(x, 256)
    assert found.basis.shape == (10, 7)  # eight images span seven directions
    torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(7), rtol=0, atol=1e-5)
    centred = torch.nn.functional.normalize(x - x.mean(0), dim=1)
    torch.testing.assert_close(found(x) @ found(x).T, centred @ centred.T, rtol=1e-3, atol=1e-4)


def test_images_that_are_there_twice_leave_the_directions_at_right_angles():
    x = features(n=8, width=40)
    found = fit_projection(torch.cat([x, x]), 12)  # of which 7 have a variance
    torch.testing.assert_close(found.basis.T @ found.basis, torch.eye(12), rtol=0, atol=1e-5)
    torch.testing.assert_close(found(x).norm(dim=1), torch.ones(8))
    alone = fit_projection(x, 7)
    torch.testing.assert_close(found(x) @ found(x).T, alone(x) @ alone(x).T, rtol=1e-3, atol=1e-4)


def test_it_says_what_is_kept_and_how_many_dimensions_keep_95_percent():
    found = fit_projection(features(n=500), 2)
    assert found.dims_for() == 3
    assert 0.8 < found.kept < 0.95
    assert found.kept == pytest.approx(float(found.variances[:2].sum() / found.variances.sum()))


def test_the_same_images_have_the_same_keys_in_any_order():
    x = features()
    one, other = fit_projection(x, 4), fit_projection(x.flip(0), 4)
    torch.testing.assert_close(one(x), other(x), rtol=1e-3, atol=1e-4)


def test_features_that_are_all_alike_are_refused():
    with pytest.raises(TeacherError, match="60 images are all alike"):
        fit_projection(torch.full((60, 10), 3.0), 4)
    with pytest.raises(TeacherError, match="all alike"):
        fit_projection(1000 + 1e-3 * features(), 4)


def test_keys_have_no_more_dimensions_than_there_are():
    assert (most_dims(512, 10_000), most_dims(64, 10_000), most_dims(512, 9)) == (256, 64, 8)


def test_keys_are_made_in_float32_under_autocast():
    x = features()
    found = fit_projection(x, 3)
    with torch.autocast("cpu", torch.bfloat16):
        under = found(x)
    assert torch.equal(under, found(x))


def test_places_of_a_map_become_the_keys_that_each_would_be_alone():
    found = fit_projection(features(), 3)
    maps = features(n=12).view(2, 6, 10).transpose(1, 2).unflatten(2, (3, 2))
    keys = found.of_places(maps)
    assert keys.shape == (2, 3, 3, 2)
    torch.testing.assert_close(keys[1, :, 2, 0], found(maps[1, :, 2, 0][None])[0])
