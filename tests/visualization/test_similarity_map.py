# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch

from xmoco_plugin.visualization import (
    asymmetry,
    cross_similarity,
    describe_similarity,
    two_view_similarity,
)

from .. import models

# docs/method.md's example, scaled: the map does not depend on length.
Q = torch.tensor([[2.0, 0.0], [0.0, 1.0], [6.0, 8.0]])
K = torch.tensor([[0.8, 0.6], [3.0, 0.0], [0.0, 1.0]])
S = torch.tensor([[0.8, 1.0, 0.0], [0.6, 0.0, 1.0], [0.96, 0.6, 0.8]])


def test_the_map_holds_the_cosines():
    torch.testing.assert_close(cross_similarity(Q, K), S)


def test_asymmetry_is_the_distance_of_mirrored_entries():
    expected = torch.tensor([[0.0, 0.4, 0.96], [0.4, 0.0, 0.4], [0.96, 0.4, 0.0]])
    torch.testing.assert_close(asymmetry(S), expected)


def test_means_are_taken_on_and_off_the_diagonal():
    numbers = describe_similarity(S)
    assert numbers["positive"] == pytest.approx(1.6 / 3)
    assert numbers["negative"] == pytest.approx(4.16 / 6)
    assert numbers["asymmetry"] == pytest.approx((0.4 + 0.96 + 0.4) / 3)


def test_asymmetry_is_the_consistency_loss_before_squaring():
    # batch/transpose with mse in docs/method.md's table: the mean of the squares off the diagonal.
    off = ~torch.eye(3, dtype=torch.bool)
    assert asymmetry(S)[off].square().mean().item() == pytest.approx(0.41386666666666666, rel=1e-6)


def test_shapes_that_do_not_fit_are_refused():
    with pytest.raises(ValueError, match=r"\(3, 2\) and \(2, 2\)"):
        cross_similarity(Q, K[:2])


@pytest.mark.parametrize("kind", ["XMoCo", "MoCo"])
def test_queries_come_from_the_encoder_and_keys_from_the_key_encoder(kind):
    model, (a, b) = models.build(kind).eval(), models.views(5, seed=1)
    torch.nn.init.normal_(model.encoder_k.module[0].conv.weight)
    model.encoder_k.steps.fill_(1)
    q = model.neck(model.backbone(a))[0]
    k = model.encoder_k(b)[0]
    torch.testing.assert_close(two_view_similarity(model, [a, b]), cross_similarity(q, k))


class ThreeOutputs(torch.nn.Module):
    """As DenseCL's neck: the global embedding, one for each place, and the mean of those."""

    def __init__(self, neck):
        super().__init__()
        self.neck = neck

    def forward(self, features):
        (embedding,) = self.neck(features)
        return embedding, embedding[:, :, None], embedding.square()


@pytest.mark.parametrize("steps", [0, 1])
def test_of_a_necks_outputs_the_first_is_compared(steps):
    model, (a, b) = models.build().eval(), models.views(5, seed=1)
    model.encoder_k.steps.fill_(steps)
    expected = two_view_similarity(model, [a, b])
    model.neck = ThreeOutputs(model.neck)
    model.encoder_k.module[1] = ThreeOutputs(model.encoder_k.module[1])
    torch.testing.assert_close(two_view_similarity(model, [a, b]), expected)


@pytest.mark.parametrize("kind", ["XMoCo", "MoCo"])
def test_before_the_first_step_both_encoders_are_the_query_encoder(kind):
    # The hosts initialise the weights after the key encoder was copied, and copy again at step 1.
    model, (a, _) = models.build(kind), models.views(5, seed=1)
    torch.nn.init.normal_(model.encoder_k.module[0].conv.weight)
    torch.testing.assert_close(two_view_similarity(model, [a, a]).diagonal(), torch.ones(5))


def test_the_model_is_left_as_it_was():
    model = models.build()
    model.backbone.norm.eval()
    modes = [module.training for module in model.modules()]
    before = {key: value.clone() for key, value in model.state_dict().items()}
    two_view_similarity(model, models.views(5, seed=1))
    assert [module.training for module in model.modules()] == modes
    for key, value in model.state_dict().items():
        assert torch.equal(value, before[key]), key
