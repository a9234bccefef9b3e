# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""FAIR's layouts come in: files made to their layout, with other weights in the other encoder."""

import pytest
import torch
import torchvision

from xmoco_plugin.export import find_backbone
from xmoco_plugin.export.names import rename_vit

from .backbones import VIT, randomize, xmoco


@pytest.fixture(scope="module")
def torchvision_state():
    """ResNet-18's weights by torchvision's names, without the classifier."""
    state = randomize(torchvision.models.resnet18()).state_dict()
    return {key: value for key, value in state.items() if not key.startswith("fc.")}


@pytest.mark.parametrize("version", ["v1", "v2"])
@pytest.mark.parametrize("encoder", ["query", "key"])
def test_fair_moco_comes_in_without_its_head(torchvision_state, version, encoder):
    heads = ["fc.weight"] if version == "v1" else ["fc.0.weight", "fc.0.bias", "fc.2.weight"]
    state = {"module.queue": torch.zeros(8, 16), "module.queue_ptr": torch.zeros(1)}
    for offset, name in enumerate(("encoder_q", "encoder_k")):
        state |= {f"module.{name}.{k}": v + offset for k, v in torchvision_state.items()}
        state |= {f"module.{name}.{head}": torch.zeros(1) for head in heads}
    checkpoint = dict(epoch=200, arch="resnet18", state_dict=state, optimizer={})
    found = find_backbone(checkpoint, encoder=encoder)
    assert found.layout == "moco"
    assert found.state.keys() == torchvision_state.keys()
    offset = int(encoder == "key")
    assert torch.equal(found.state["conv1.weight"], torchvision_state["conv1.weight"] + offset)
    assert len(found.left_out) == 2 + 2 * len(heads) + len(torchvision_state)


@pytest.mark.parametrize("family", ["resnet", "vit"])
@pytest.mark.parametrize("encoder", ["query", "key"])
def test_fair_moco_v3_comes_in_without_its_head(torchvision_state, family, encoder):
    body = torchvision_state
    if family == "vit":
        plain = xmoco(VIT).backbone.state_dict()
        body = {rename_vit(key, "mmpretrain", "timm"): value for key, value in plain.items()}
    head = "fc" if family == "resnet" else "head"
    state = {"module.predictor.0.weight": torch.zeros(1)}
    for offset, name in enumerate(("base_encoder", "momentum_encoder")):
        state |= {f"module.{name}.{key}": value + offset for key, value in body.items()}
        state[f"module.{name}.{head}.0.weight"] = torch.zeros(1)
    found = find_backbone(dict(epoch=300, arch="vit_small", state_dict=state), encoder=encoder)
    assert (found.layout, found.family) == ("moco-v3", family)
    expected = plain if family == "vit" else body
    assert found.state.keys() == expected.keys()
    assert all(
        torch.equal(found.state[key], value + int(encoder == "key"))
        for key, value in expected.items()
    )
