# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import copy

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from tests.models import config as moco_config
from tests.models import views
from tests.plug_in.rows import ROWS, build, host_of, logged, plugged
from xmoco_plugin.heads import RegularizedHead

TERMS = dict(consistency=dict(), uniformity=dict())
PREDICTOR = dict(
    type="NonLinearNeck",
    in_channels=8,
    hid_channels=8,
    out_channels=8,
    with_avg_pool=False,
    norm_cfg=dict(type="BN1d"),
)
LATENT = dict(type="LatentPredictHead", loss=dict(type="CosineSimilarityLoss"), predictor=PREDICTOR)


@MODELS.register_module(force=True)
class PairHead(nn.Module):
    """A user's head without a predictor; returns a dict."""

    def __init__(self) -> None:
        super().__init__()
        self.project = nn.Linear(8, 8)

    def loss(self, a, b):
        return dict(loss=(self.project(a) - b).square().mean())


def drawn(n=6):
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(n, 8, generator=generator, requires_grad=True) for _ in range(2)]


def test_state_dict_has_the_hosts_names_and_goes_both_ways():
    ours, host = RegularizedHead(LATENT, **TERMS), MODELS.build(LATENT)
    assert list(ours.state_dict(prefix="head.")) == list(host.state_dict(prefix="head."))
    assert ours.load_state_dict(host.state_dict(), strict=True)
    other = MODELS.build(LATENT)
    other.load_state_dict(ours.state_dict(), strict=True)
    for key, value in other.state_dict().items():
        assert torch.equal(value, host.state_dict()[key]), key


def test_a_copy_has_its_own_weights_and_loads_like_the_original():
    ours = RegularizedHead(LATENT, **TERMS)
    twin = copy.deepcopy(ours)
    with torch.no_grad():
        ours.predictor.fc0.weight.add_(1)
    assert not torch.equal(ours.predictor.fc0.weight, twin.predictor.fc0.weight)
    twin.load_state_dict(ours.state_dict())
    assert torch.equal(ours.predictor.fc0.weight, twin.predictor.fc0.weight)


def test_what_an_algorithm_or_a_hook_reads_of_its_head_is_the_hosts():
    ours = RegularizedHead(LATENT)
    assert ours.predictor is ours.head.predictor
    with pytest.raises(AttributeError, match="no attribute 'temperature'"):
        _ = ours.temperature


def test_predictor_is_run_once():
    ours, host = RegularizedHead(LATENT, **TERMS), MODELS.build(LATENT)
    host.load_state_dict(ours.state_dict())
    q, k = drawn()
    ours.loss(q, k)
    host.loss(q, k)
    for key, value in host.state_dict().items():
        assert torch.equal(ours.state_dict()[key], value), key


def test_a_tensor_becomes_the_sum_and_its_parts_are_in_the_engines_log():
    torch.manual_seed(0)  # a host's loss is near 0 for one draw of weights in a thousand
    ours, (q, k) = RegularizedHead(LATENT, **TERMS), drawn()
    total = ours.loss(q, k)
    parts = [logged(f"loss_{part}", 1)[0] for part in ("host", "consistency", "uniformity")]
    assert total.item() == pytest.approx(sum(parts), rel=1e-6)
    assert min(abs(part) for part in parts) > 1e-4


def test_a_dict_gets_the_terms_beside_the_hosts_loss():
    ours, (q, k) = RegularizedHead(dict(type="PairHead"), **TERMS), drawn()
    losses = ours.loss(q, k)
    assert list(losses) == ["loss_host", "loss_consistency", "loss_uniformity"]
    assert losses["loss_consistency"].item() == pytest.approx(
        ours.terms(q, k)["loss_consistency"].item()
    )


@pytest.mark.parametrize(
    ("options", "trained"), [({}, False), (dict(key_gradient=True), True)], ids=["fixed", "trained"]
)
def test_second_side_of_a_users_head_carries_gradient_only_where_asked(options, trained):
    ours, (q, k) = RegularizedHead(dict(type="PairHead"), **TERMS, **options), drawn()
    losses = ours.loss(q, k)
    (losses["loss_consistency"] + losses["loss_uniformity"]).backward()
    assert q.grad.abs().min() > 0
    assert (k.grad is not None) == trained


def test_a_users_head_can_name_the_part_whose_outputs_are_compared():
    ours, (q, k) = RegularizedHead(dict(type="PairHead"), **TERMS, after="project"), drawn()
    expected = ours.terms(ours.project(q), k)["loss_consistency"]
    assert ours.loss(q, k)["loss_consistency"].item() == pytest.approx(expected.item())
    with pytest.raises(ValueError, match="PairHead has no part 'predictor'"):
        RegularizedHead(dict(type="PairHead"), after="predictor")


def test_an_algorithm_that_hands_its_head_similarities_is_told_what_to_use():
    head = dict(type="RegularizedHead", head=moco_config("MoCo")["head"], **TERMS)
    moco = MODELS.build(moco_config("MoCo", head=head)).double()
    with pytest.raises(
        ValueError, match=r"ContrastiveHead was given \(8, 1\) and \(8, 24\)"
    ) as error:
        moco.loss(views(8, seed=0), None)
    for word in ("MoCoV3Head, LatentPredictHead", "'XMoCo' with XMoCoHead", "RegularizedSimCLR"):
        assert word in str(error.value)
    assert "write a subclass of RegularizedHead: its check_host()" in str(error.value)


def test_a_head_that_does_not_take_two_sets_is_refused_when_it_is_built():
    head = dict(type="SwAVHead", loss=dict(type="SwAVLoss", feat_dim=8))
    with pytest.raises(ValueError, match=r"SwAVHead takes \(pred\).*use RegularizedSwAVHead"):
        RegularizedHead(head)
    with pytest.raises(ValueError, match=r"LinearNeck has no loss\(\)"):
        RegularizedHead(dict(type="LinearNeck", in_channels=8, out_channels=8))
    with pytest.raises(
        ValueError, match=r"RegularizedSwAVHead needs .* LatentPredictHead is not SwAV"
    ):
        MODELS.build(dict(type="RegularizedSwAVHead", head=LATENT))
    head["loss"]["crops_for_assign"] = [0]
    with pytest.raises(ValueError, match=r"crops_for_assign is \[0\]"):
        MODELS.build(dict(type="RegularizedSwAVHead", head=head))


def test_an_algorithm_that_gives_the_pairs_needs_a_head_with_terms():
    config = plugged("simclr-r50")
    config.head = config.head.head
    with pytest.raises(ValueError, match=r"RegularizedSimCLR needs head=.*got ContrastiveHead"):
        build(config)


@pytest.mark.parametrize("name", ROWS)
def test_terms_of_bf16_embeddings_are_those_of_float32(name):
    head = build(plugged(name)).head
    q, k = (x.detach() for x in drawn(32))
    expected = head.terms(q.bfloat16().float(), k.bfloat16().float())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        terms = head.terms(q.bfloat16(), k.bfloat16())
    for key, value in expected.items():
        assert terms[key].dtype == torch.float32
        assert terms[key].item() == pytest.approx(value.item(), rel=1e-6)


@pytest.mark.parametrize("name", ROWS)
def test_a_step_under_bf16_autocast_is_near_one_in_float32(name):
    model = build(plugged(name)).float()
    inputs = [view.float() for view in views(8, seed=0)]
    torch.manual_seed(0)
    expected, _ = copy.deepcopy(model).parse_losses(copy.deepcopy(model).loss(inputs, None))
    torch.manual_seed(0)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        total, _ = model.parse_losses(model.loss(inputs, None))
    assert total.item() == pytest.approx(expected.item(), rel=0.03)
    total.backward()


@pytest.mark.parametrize("name", ROWS)
def test_compiled_steps_give_the_values_of_eager_ones(name):
    eager = build(plugged(name))
    compiled = copy.deepcopy(eager)
    forward = torch.compile(compiled.loss, backend="aot_eager")
    for seed in range(2):
        inputs = views(8, seed)
        torch.manual_seed(seed)  # DenseCL's shuffle
        expected, _ = eager.parse_losses(eager.loss(inputs, None))
        torch.manual_seed(seed)
        total, _ = compiled.parse_losses(forward(inputs, None))
        assert total.item() == pytest.approx(expected.item(), rel=1e-9)
    total.backward()
    expected.backward()
    for (key, a), b in zip(eager.named_parameters(), compiled.parameters(), strict=True):
        if a.grad is not None:
            assert torch.allclose(a.grad, b.grad, rtol=1e-6, atol=1e-9), key


def test_a_host_config_stays_as_it_was():
    config = plugged("byol-r50")
    before = copy.deepcopy(config)
    build(config)
    assert config.head == before.head
    assert host_of(config).head == before.head.head
