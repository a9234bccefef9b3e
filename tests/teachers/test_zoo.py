# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Networks by name: from where, how large, under which licence; nothing is fetched here."""

import pytest

from xmoco_plugin.teachers import TeacherError, looks_like_a_file, offer_of
from xmoco_plugin.teachers.from_config import open_teacher


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))


def test_a_network_of_mmpretrain_says_where_its_weights_are():
    found = offer_of("vit-small-p14_dinov2-pre_3rdparty")
    assert found.backbone["type"] == "VisionTransformer"
    assert found.url.startswith("https://")
    assert found.place.name == found.url.rsplit("/", 1)[1]
    assert not found.restricted
    assert "about 88 MB from https://" in found.describe()
    assert "Apache-2.0" in found.describe()


def test_licences_that_restrict_are_marked():
    pytest.importorskip("timm")
    found = offer_of("vit_small_patch16_dinov3.lvd1689m")
    assert found.licence == "dinov3-license"
    assert "restricts what you may do with them: read it" in found.describe()
    # Many files have one name at their address, and none in the cache.
    assert found.url.endswith("/model.safetensors")
    assert found.place.name == "timm-vit_small_patch16_dinov3.lvd1689m.safetensors"
    assert offer_of("convnext-v2-atto_fcmae-pre_3rdparty_in1k").restricted


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(TeacherError, match="Nearest: resnet50_8xb32_in1k"):
        offer_of("resnet50_8xb32")


def test_files_are_told_from_names(tmp_path):
    (tmp_path / "there").write_text("")
    names = ("a/b", "x.pth", "x.safetensors", str(tmp_path / "there"))
    assert [looks_like_a_file(n) for n in names] == [True] * 4
    assert not looks_like_a_file("vit_small_patch14_dinov2.lvd142m")


def test_a_config_fetches_nothing_unless_it_says_so():
    with pytest.raises(TeacherError, match=r"Apache-2.0.* is not at .*fetch=True"):
        open_teacher("resnet50_8xb32_in1k")
