# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A teacher's file: which network it holds, and that all of its weights are there."""

import pytest
import torch
import torchvision

from tests import models
from tests.teachers.files import RESNET, own_file
from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.teachers import TeacherError, open_file, timm_backbone


@pytest.fixture(scope="module")
def torchvision_file(tmp_path_factory):
    torch.manual_seed(0)
    path = tmp_path_factory.mktemp("tv") / "resnet18.pth"
    torch.save(torchvision.models.resnet18().state_dict(), path)
    return path


def test_a_bare_resnet_is_known_by_its_layers(torchvision_file):
    found = open_file(torchvision_file)
    assert found.settings == dict(type="ResNet", depth=18)
    theirs = torchvision.models.resnet18().eval()
    theirs.load_state_dict(torch.load(torchvision_file, weights_only=True))
    theirs.fc = torch.nn.Identity()
    image = torch.randn(2, 3, 64, 64)
    with torch.no_grad():
        ours = found.backbone(image)[-1].mean(dim=(2, 3))
        torch.testing.assert_close(ours, theirs(image), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("make", "settings"),
    [
        ("mobilenet_v2", dict(type="MobileNetV2", widen_factor=1.0)),
        ("efficientnet_b0", dict(type="EfficientNet", arch="b0")),
    ],
)
def test_a_bare_file_of_a_known_family_is_known_by_its_layers(tmp_path, make, settings):
    torch.manual_seed(0)
    theirs = getattr(torchvision.models, make)().eval()
    torch.save(theirs.state_dict(), tmp_path / "bare.pth")
    found = open_file(tmp_path / "bare.pth")
    assert {key: found.settings.get(key) for key in settings} == settings
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, expected = found.backbone(image)[-1], theirs.features(image)
    torch.testing.assert_close(ours, expected, rtol=1e-4, atol=1e-5)


def test_our_checkpoint_says_its_network_and_normalisation(tmp_path):
    backbone = own_file(tmp_path / "c.pth", RESNET | dict(norm_cfg=dict(type="SplitBN")))
    found = open_file(tmp_path / "c.pth")
    assert found.settings == RESNET
    assert (found.mean, found.std, found.bgr) == ((1.0, 2.0, 3.0), (4.0, 5.0, 6.0), False)
    image = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(found.backbone(image)[-1], backbone(image)[-1])


def test_a_file_decides_over_mean_and_order_of_colours_and_what_is_usual_where_it_is_silent(
    tmp_path, torchvision_file
):
    text = f"model = dict(type='ImageClassifier', backbone={RESNET!r}"
    own_file(tmp_path / "c.pth")
    content = torch.load(tmp_path / "c.pth", weights_only=True)
    usual = (9.0,) * 3, (8.0,) * 3, True
    digests = set()
    for said, expected in (
        (
            ", data_preprocessor=dict(mean=[1.0, 1.0, 1.0], std=[2.0, 2.0, 2.0]))",
            ((1.0,) * 3, (2.0,) * 3, True),
        ),
        (", data_preprocessor=dict(to_rgb=True))", ((0.0,), (1.0,), False)),
        (")\ndata_preprocessor = dict(bgr_to_rgb=False)", ((0.0,), (1.0,), True)),
        # The model's own decides over what stands beside it, as in the host.
        (
            ", data_preprocessor=dict(mean=[1.0, 1.0, 1.0], std=[2.0, 2.0, 2.0], to_rgb=True))\n"
            "data_preprocessor = dict(mean=[5.0], std=[5.0])",
            ((1.0,) * 3, (2.0,) * 3, False),
        ),
        (")", usual),
    ):
        content["meta"]["cfg"] = text + said
        torch.save(content, tmp_path / "c.pth")
        found = open_file(tmp_path / "c.pth", usual=usual)
        assert (found.mean, found.std, found.bgr) == expected
        digests.add(found.digest)
        asked = found.frozen(8)
        assert (asked.bgr, asked.mean.flatten().tolist()) == (expected[2], [*expected[0]])
    assert len(digests) == 5
    assert open_file(torchvision_file).bgr is False


def test_settings_that_may_not_be_built_ask_for_the_network_s_name_and_then_do_not_matter(tmp_path):
    own_file(tmp_path / "c.pth")
    content = torch.load(tmp_path / "c.pth", weights_only=True)
    content["meta"]["cfg"] = f"model = dict(type='XMoCo', backbone={RESNET!r}, head=[1.0] * 3)\n"
    torch.save(content, tmp_path / "c.pth")
    with pytest.raises(
        TeacherError, match=r"head.* Name the network: --teacher-model NAME"
    ) as told:
        open_file(tmp_path / "c.pth")
    assert "--config" not in str(told.value)
    assert open_file(tmp_path / "c.pth", RESNET).settings == RESNET


def test_a_split_norm_of_other_settings_keeps_them(tmp_path):
    own_file(tmp_path / "c.pth", RESNET | dict(norm_cfg=dict(type="SplitBN", eps=0.1)))
    assert open_file(tmp_path / "c.pth").settings["norm_cfg"] == dict(type="BN", eps=0.1)


def test_a_registered_class_of_the_users_is_a_teacher_too(tmp_path):
    models.save_checkpoint(tmp_path / "own.pth")
    assert type(open_file(tmp_path / "own.pth").backbone).__name__ == "TinyEncoder"


def test_a_file_of_timm_is_read_into_the_network_that_is_named(tmp_path):
    timm = pytest.importorskip("timm")
    theirs = timm.create_model("resnet10t").eval()
    torch.save(theirs.state_dict(), tmp_path / "t.pth")
    found = open_file(tmp_path / "t.pth", timm_backbone("resnet10t.c3_in1k"))
    image = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        ours, expected = found.backbone(image)[-1], theirs.forward_features(image)
    torch.testing.assert_close(ours, expected)


def test_the_digest_is_of_weights_and_normalisation(tmp_path, torchvision_file):
    first = open_file(torchvision_file).digest
    assert open_file(torchvision_file).digest == first
    assert open_file(torchvision_file, mean=(0.0, 0.0, 0.0)).digest != first
    state = torch.load(torchvision_file, weights_only=True)
    state["conv1.weight"][0, 0, 0, 0] += 1
    torch.save(state, tmp_path / "changed.pth")
    assert open_file(tmp_path / "changed.pth").digest != first


def test_what_does_not_fit_or_say_its_network_is_refused(tmp_path, torchvision_file):
    with pytest.raises(TeacherError, match=r"not hold the weights of a ResNet 50:\n.*shape"):
        open_file(torchvision_file, dict(type="ResNet", depth=50))
    torch.save({"features.0.weight": torch.randn(4, 3, 3, 3)}, tmp_path / "other.pth")
    with pytest.raises(TeacherError, match="--teacher-model NAME"):
        open_file(tmp_path / "other.pth")
    own_file(tmp_path / "nan.pth", RESNET, extra=torch.full((2, 2), float("nan")))
    with pytest.raises(CheckpointError, match="not finite"):
        open_file(tmp_path / "nan.pth")
    (tmp_path / "text.pth").write_text("<html>")
    with pytest.raises(CheckpointError, match="text file"):
        open_file(tmp_path / "text.pth")
