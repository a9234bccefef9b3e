# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch
from mmcv.cnn import build_norm_layer
from torch import nn

from xmoco_plugin.momentum import SplitBN


def norm_and_batch(num_splits=3):
    torch.manual_seed(0)
    norm = SplitBN(4, num_splits=num_splits).double()
    nn.init.uniform_(norm.weight)
    nn.init.uniform_(norm.bias)
    return norm, torch.randn(6, 4, 5, 5, dtype=torch.float64)


def test_each_part_is_normalized_by_itself_and_statistics_are_the_mean_over_parts():
    norm, x = norm_and_batch()
    out = norm(x)
    means, variances = [], []
    for part in range(3):
        plain = nn.BatchNorm2d(4).double()
        plain.load_state_dict(
            nn.BatchNorm2d(4).double().state_dict() | dict(norm.named_parameters())
        )
        assert torch.allclose(plain(x[part::3]), out[part::3], atol=1e-12)
        means.append(plain.running_mean)
        variances.append(plain.running_var)
    assert torch.allclose(norm.running_mean, torch.stack(means).mean(0), atol=1e-12)
    assert torch.allclose(norm.running_var, torch.stack(variances).mean(0), atol=1e-12)


def test_one_part_and_evaluation_are_batchnorm():
    norm, x = norm_and_batch(num_splits=1)
    plain = nn.BatchNorm2d(4).double()
    plain.load_state_dict(norm.state_dict())
    assert torch.equal(norm(x), plain(x))
    split, _ = norm_and_batch(num_splits=3)
    split.load_state_dict(plain.state_dict())
    assert torch.equal(split.eval()(x), plain.eval()(x))


def test_permuting_the_batch_changes_what_an_image_is_normalized_with():
    norm, x = norm_and_batch()
    order = torch.tensor([1, 0, 2, 3, 4, 5])
    restored = norm(x[order])[order.argsort()]
    assert not torch.allclose(restored, norm(x), atol=1e-3)


def test_a_batch_that_cannot_be_split_is_named():
    norm, x = norm_and_batch()
    with pytest.raises(ValueError, match="3 equal parts, but this process got 4 images"):
        norm(x[:4])


def test_config_builds_it_under_batchnorms_name():
    name, layer = build_norm_layer(dict(type="SplitBN", num_splits=2), 4)
    assert name == "bn"
    assert layer.num_splits == 2
    assert layer.state_dict().keys() == nn.BatchNorm2d(4).state_dict().keys()
