# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A backbone is found wherever wrappers and other libraries put it, and nothing else is taken."""

import pytest
import torch
import torchvision
from mmpretrain.registry import MODELS
from torch import nn

from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.cli.backbones import load_backbone
from xmoco_plugin.export import convert, find_backbone

from .backbones import randomize


@pytest.fixture(scope="module")
def net():
    return randomize(torchvision.models.resnet18())


@pytest.fixture(scope="module")
def body(net):
    """ResNet-18's weights by torchvision's names, without the classifier."""
    return {k: v for k, v in net.state_dict().items() if not k.startswith("fc.")}


def under(prefix, body, offset=0.0):
    return {prefix + key: value + offset for key, value in body.items()}


WRAPPED = [
    "_orig_mod.backbone.",
    "backbone._orig_mod.",
    "module._orig_mod.backbone.",
    "module.backbone.module.",
    "_orig_mod.module.encoder_q.",
    "module.encoder.",
    "encoder.",
    "model.backbone.",
    "model.",
    "net.module.",
    "online_network.encoder.",
    "_forward_module.model.encoder._orig_mod.",
    "backbone._fsdp_wrapped_module.",
    "model.online_encoder.net.",
    "",
]


@pytest.mark.parametrize("prefix", WRAPPED)
def test_a_backbone_is_found_behind_what_wrappers_put_before_it(body, prefix):
    others = {"predictor.0.weight": torch.ones(2, 2), "epoch": 3}
    found = find_backbone({"state_dict": under(prefix, body) | others})
    assert found.state.keys() == body.keys()
    assert found.prefix.rstrip(".") in prefix
    assert torch.equal(found.state["conv1.weight"], body["conv1.weight"])
    assert found.left_out == ["predictor.0.weight"]


def test_a_wrapper_in_the_middle_of_the_keys_is_taken_off_too(body):
    inside = {key.replace("layer1.", "layer1._orig_mod."): value for key, value in body.items()}
    assert find_backbone({"state_dict": under("backbone.", inside)}).state.keys() == body.keys()


@pytest.mark.parametrize(
    ("checkpoint", "query", "key"),
    [
        (
            lambda b: dict(student=under("module.backbone.", b), teacher=under("backbone.", b, 1)),
            0,
            1,
        ),
        (lambda b: dict(teacher=under("backbone.", b, 1), epoch=3), 1, 1),
        (lambda b: dict(model=b, optimizer=dict(state={}), epoch=1, args=dict(lr=0.1)), 0, None),
        (lambda b: dict(model=b, model_ema=under("module.", b, 1)), 0, 1),
        (lambda b: under("online_encoder.", b) | under("target_encoder.", b, 1), 0, 1),
        (
            lambda b: dict(state_dict=under("backbone.", b) | under("backbone_momentum.", b, 1)),
            0,
            1,
        ),
    ],
    ids=["dino", "teacher only", "torchvision", "ema", "byol", "lightly"],
)
def test_the_encoder_that_learns_and_the_one_that_follows_are_told_apart(
    body, checkpoint, query, key
):
    for encoder, offset in (("query", query), ("key", key)):
        if offset is None:
            with pytest.raises(CheckpointError, match="No key backbone"):
                find_backbone(checkpoint(body), encoder=encoder)
        else:
            found = find_backbone(checkpoint(body), encoder=encoder).state["conv1.weight"]
            assert torch.equal(found, body["conv1.weight"] + offset)


def test_a_sequential_of_a_resnets_children_gets_its_names_back(net, body):
    numbers = nn.Sequential(*list(net.children())[:-1]).state_dict()
    found = find_backbone({"state_dict": under("backbone.", numbers)})
    assert found.state.keys() == body.keys()
    assert all(torch.equal(found.state[key], value) for key, value in body.items())


def test_a_sequential_without_pooling_as_for_small_images_gets_its_names_back(net, body):
    children = [m for name, m in net.named_children() if name not in ("maxpool", "avgpool", "fc")]
    found = find_backbone({"state_dict": nn.Sequential(*children).state_dict()})
    assert found.left_out == []
    assert found.state.keys() == body.keys()
    assert all(torch.equal(found.state[key], value) for key, value in body.items())


@pytest.mark.parametrize("prefix", ["features.", "encoder.features."])
def test_a_sequential_under_the_name_of_a_vggs_list_is_found(net, body, prefix):
    rows = nn.Sequential(*list(net.children())[:-2]).state_dict()
    found = find_backbone({"state_dict": under(prefix, rows)})
    assert found.state.keys() == body.keys()
    assert torch.equal(found.state["conv1.weight"], body["conv1.weight"])


def test_weights_in_dicts_of_dicts_are_found_and_an_optimizers_are_none(body):
    trunk = under("_feature_blocks.", body)
    moments = {"state": {0: {"momentum_buffer": torch.ones(2)}}}
    deep = {"base_model": {"model": {"trunk": trunk}}, "optimizer": moments}
    found = find_backbone({"classy_state_dict": deep, "optimizer": moments})
    assert found.state.keys() == body.keys()
    assert found.left_out == []


def test_of_two_places_alike_none_is_taken_unless_it_is_named(body):
    state = under("left.", body) | under("right.", body, 1)
    with pytest.raises(CheckpointError, match=r"each of 'left\.', 'right\.': name one"):
        find_backbone(state)
    found = find_backbone(state, prefix="right")
    assert torch.equal(found.state["conv1.weight"], body["conv1.weight"] + 1)
    assert len(found.left_out) == len(body)


def test_what_is_in_doubt_elsewhere_takes_nothing_from_a_usual_place(body):
    state = under("left.", body) | under("right.", body) | under("backbone.", body, 1)
    found = find_backbone({"state_dict": state})
    assert torch.equal(found.state["conv1.weight"], body["conv1.weight"] + 1)


def test_what_is_no_backbone_is_refused_with_the_places_looked_at():
    state = {"backbone.0.weight": torch.ones(2, 2), "neck.weight": torch.ones(2)}
    with pytest.raises(
        CheckpointError, match=r"looked under 'backbone\.'.*begin with backbone, neck"
    ):
        find_backbone({"state_dict": state})
    with pytest.raises(CheckpointError, match="backbone under 'encoder'"):
        find_backbone({"state_dict": state}, prefix="encoder")


def test_a_backbone_of_any_class_is_known_by_the_config_of_its_checkpoint_or_by_its_model():
    config = dict(type="PoolFormer", arch="s12")
    state = under("backbone.", MODELS.build(config).state_dict())
    with pytest.raises(CheckpointError, match="No query backbone"):
        find_backbone({"state_dict": state})
    meta = dict(cfg=f"model = dict(backbone={config})")
    assert len(find_backbone({"state_dict": state, "meta": meta}).state) == len(state)
    wanted = MODELS.build(config).state_dict()
    assert len(find_backbone({"state_dict": state}, like=wanted).state) == len(state)
    short = {key: value for key, value in state.items() if "network.2" not in key}
    with pytest.raises(CheckpointError, match="No query backbone"):
        find_backbone({"state_dict": short, "meta": meta})


def test_weights_beside_each_other_are_all_looked_at(body, tmp_path):
    from xmoco_plugin.export import read_weights

    bad = dict(body, **{"conv1.weight": torch.full((64, 3, 7, 7), float("nan"))})
    torch.save(dict(teacher=bad, student=body), tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"conv1\.weight' holds 9,408 values"):
        read_weights(tmp_path / "a.pth")


def test_detectron2s_names_come_back(body):
    there = convert(body, "detectron2")
    found = find_backbone({"model": {f"backbone.bottom_up.{k}": v for k, v in there.items()}})
    assert found.state.keys() == {k for k in body if "num_batches" not in k}
    assert all(torch.equal(value, body[key]) for key, value in found.state.items())


@pytest.mark.parametrize("wrapper", ["", "module."])
def test_averages_beside_the_weights_are_named_as_left_out(body, wrapper):
    weights = under("backbone.", body)
    more = dict(state_dict_ema=under(f"{wrapper}backbone.", body, 1.0), optimizer={"state": {}})
    found = find_backbone(dict(state_dict=weights, meta=dict(epoch=1), **more))
    assert torch.equal(found.state["conv1.weight"], body["conv1.weight"])
    assert f"state_dict_ema.{wrapper}backbone.conv1.weight" in found.left_out
    assert len(found.left_out) == len(body)
    note = "state_dict is read; state_dict_ema beside it, with the same keys, left out"
    assert found.note == note
    alone = find_backbone(dict(state_dict=weights, meta=dict(epoch=1), optimizer={"state": {}}))
    assert (alone.left_out, alone.note) == ([], "")


def test_a_tool_that_judges_says_it_too(tmp_path, capsys):
    model = MODELS.build(dict(type="ImageClassifier", backbone=dict(type="ResNet", depth=18)))
    state = model.state_dict()
    torch.save(dict(state_dict=state, state_dict_ema=state), tmp_path / "w.pth")
    load_backbone(model, str(tmp_path / "w.pth"))
    assert f"{tmp_path / 'w.pth'}: state_dict is read; state_dict_ema" in capsys.readouterr().err
