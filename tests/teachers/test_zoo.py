# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Networks by name: from where, how large, under which licence; nothing is fetched here."""

import pytest

from tests.teachers.files import RESNET, own_file
from xmoco_plugin.teachers import (
    TeacherError,
    from_config,
    looks_like_a_file,
    network_of,
    offer_of,
    zoo,
)
from xmoco_plugin.teachers.from_config import open_teacher
from xmoco_plugin.teachers.zoo import no_file


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
    for licence, words in (
        ("apache-2.0", "apache-2.0."),
        ("cc-by-4.0", "cc-by-4.0."),
        ("cc-by-nc-4.0", "restricts what you may do"),
        ("apple-amlr", "none of the usual free ones"),
        ("unknown", "ask where they are from"),
        ("not stated by timm", "ask where they are from"),
    ):
        other = found._replace(licence=licence)
        assert words in other.describe()
        assert other.restricted is not words.endswith("0.")


def test_an_unknown_name_gets_the_nearest():
    with pytest.raises(TeacherError, match="Nearest: resnet50_8xb32_in1k"):
        offer_of("resnet50_8xb32")


def test_a_network_that_takes_bgr_is_asked_with_bgr():
    found = offer_of("regnetx-400mf_8xb128_in1k")
    assert found.bgr
    assert found.mean[0] < found.mean[2]  # of blue first
    assert not offer_of("resnet50_8xb32_in1k").bgr


def test_a_file_of_a_named_network_takes_what_the_name_s_weights_take():
    pytest.importorskip("timm")
    settings, usual = network_of("vit_base_patch16_224.augreg_in21k")
    assert settings["model_name"] == "vit_base_patch16_224"
    assert usual == ((127.5,) * 3, (127.5,) * 3, False)


def test_without_timm_the_message_says_that_it_was_not_asked(monkeypatch):
    monkeypatch.setattr(zoo, "_timm", lambda: None)
    with pytest.raises(TeacherError, match="timm may, and is not installed"):
        offer_of("vit_small_patch14_dinov2.lvd142m")


def test_one_of_several_processes_opens_a_named_teacher_alone(tmp_path, monkeypatch):
    """TeacherHook's first process does; the others look for its files, and wait for no message."""
    file = tmp_path / "net.pth"
    own_file(file)
    offer = offer_of("resnet18_8xb32_in1k")._replace(place=file, backbone=dict(RESNET))
    monkeypatch.setattr(from_config, "offer_of", lambda name: offer)
    monkeypatch.setattr("xmoco_plugin.weights.download.get_dist_info", lambda: (0, 2))
    monkeypatch.setattr("xmoco_plugin.weights.download.broadcast_object_list", None)
    assert open_teacher("resnet18_8xb32_in1k").settings == RESNET


def test_files_are_told_from_names(tmp_path):
    (tmp_path / "there").write_text("")
    names = ("a/b", "x.pth", "x.safetensors", str(tmp_path / "there"))
    assert [looks_like_a_file(n) for n in names] == [True] * 4
    assert not looks_like_a_file("vit_small_patch14_dinov2.lvd142m")


def test_a_config_fetches_nothing_unless_it_says_so():
    with pytest.raises(TeacherError, match=r"Apache-2.0.* is not at .*fetch=True"):
        open_teacher("resnet50_8xb32_in1k")


def test_a_hub_s_repository_that_is_taken_for_a_path_is_told_what_to_do():
    assert "fetch its model.safetensors" in no_file("facebook/dinov2-small")
    for path in ("runs/a.pth", "/data/teacher", "a/b/c"):
        assert no_file(path) == f"There is no file {path}."
