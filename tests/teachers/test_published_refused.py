# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Published files that do not fit are refused with the reason; what is left out is said."""

import contextlib

import pytest
import torch

from tests.teachers import published as p
from tests.teachers.files import of_timm, written
from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.teachers import TeacherError, large, open_file


@pytest.mark.parametrize(
    ("settings", "sizes"),
    [
        (of_timm("vit_base_patch14_dinov2"), "2 blocks of 768 channels, patches of 14 px. "),
        (of_timm("vit_small_patch16_224"), "2 blocks of 384 channels, patches of 16 px. "),
        (of_timm("vit_small_patch14_dinov2", 1), "1 blocks of 384 channels, patches of 14 px. "),
        (
            of_timm("vit_small_patch14_reg4_dinov2"),
            "2 blocks of 384 channels, patches of 14 px, 4 registers. ",
        ),
        (
            dict(type="VisionTransformer", arch="deit-small", img_size=518, patch_size=14),
            "12 blocks of 384 channels, patches of 14 px. ",
        ),
    ],
)
def test_another_size_than_the_named_network_s_is_refused_with_both(tmp_path, settings, sizes):
    pytest.importorskip("timm")
    path = written(tmp_path, "dinov2.pth", p.in_fair_dinov2(p.drawn("v2")))
    with pytest.raises(TeacherError) as told:
        open_file(path, settings)
    assert "it is a vision transformer of 2 blocks of 384 channels, patches of 14 px, and" in str(
        told.value
    )
    assert f"that network has {sizes}" in str(told.value)


def test_a_deeper_network_than_the_named_one_is_not_cut_without_a_word(tmp_path):
    import torchvision

    torch.manual_seed(0)
    torch.save(torchvision.models.resnet101().state_dict(), tmp_path / "deep.pth")
    with pytest.raises(TeacherError, match=r"deeper network than a ResNet 50, with 255 tensors"):
        open_file(tmp_path / "deep.pth", dict(type="ResNet", depth=50))


def test_a_file_lacks_a_layer_or_has_one_that_is_not_known(tmp_path):
    state = p.in_fair_dinov2(p.drawn("v2"))
    lacking = {key: value for key, value in state.items() if key != "blocks.1.mlp.fc2.bias"}
    with pytest.raises(TeacherError, match=r"1 in the model only:\n +layers\.1\.ffn\.layers\.1\.b"):
        open_file(written(tmp_path, "lacking.pth", lacking))
    further = state | {"blocks.0.attn.relative_position_bias_table": torch.ones(9, 6)}
    with pytest.raises(TeacherError, match="--teacher-model NAME of mmpretrain or timm"):
        open_file(written(tmp_path, "further.pth", further))
    narrow = p.in_fair_dinov2(p.weights(width=320, depth=1, grid=37))
    with pytest.raises(TeacherError, match=r"1 blocks of 320 channels, patches of 14 px"):
        open_file(written(tmp_path, "narrow.pth", narrow))


def test_what_of_a_file_is_left_out_and_what_its_layers_show_is_said(tmp_path, capsys):
    pytest.importorskip("timm")
    path = written(tmp_path, "dinov3.pth", p.in_fair_dinov3(p.drawn("v3")))
    seen, left = open_file(path).notes()
    assert capsys.readouterr().out == ""  # no line for each block
    assert seen == (
        "dinov3.pth is, by its layers, a vit_small_patch16_dinov3_qkvb of timm of 2 blocks of 384 "
        "channels, patches of 16 px, 4 registers"
    )
    assert left == (
        "dinov3.pth: 4 tensors are of none of the network's layers and left out: "
        "blocks.N.attn.qkv.bias_mask (2), mask_token, rope_embed.periods"
    )
    named = open_file(path, of_timm("vit_small_patch16_dinov3_qkvb"))
    assert named.notes() == [left]


def test_biases_that_the_named_network_lacks_are_refused_unless_they_are_zero(tmp_path):
    pytest.importorskip("timm")
    bare = of_timm("vit_small_patch16_dinov3")
    path = written(tmp_path, "a.pth", p.in_fair_dinov3(p.drawn("v3")))
    with pytest.raises(TeacherError, match=r"holds biases, and the network has none: .*_qkvb"):
        open_file(path, bare)
    path = written(tmp_path, "b.pth", p.in_fair_dinov3(p.without_biases(p.drawn("v3"))))
    image = torch.rand(1, 3, 48, 48)
    with torch.no_grad():
        torch.testing.assert_close(
            open_file(path, bare).backbone(image), open_file(path).backbone(image)
        )


def test_a_bias_of_the_keys_counts_only_where_no_mask_takes_it_away(tmp_path):
    pytest.importorskip("timm")
    state = p.in_fair_dinov3(p.drawn("v3"))
    expected = open_file(written(tmp_path, "none.pth", state)).digest
    for i in range(2):
        state[f"blocks.{i}.attn.qkv.bias"][384:768] = 1.0
    assert open_file(written(tmp_path, "masked.pth", state)).digest == expected
    bare = {key: value for key, value in state.items() if not key.endswith("bias_mask")}
    with pytest.raises(TeacherError, match=r"bias of its keys, which timm's DINOv3 lacks"):
        open_file(written(tmp_path, "bare.pth", bare))


def test_positions_that_turn_otherwise_are_refused(tmp_path):
    pytest.importorskip("timm")
    state = p.in_fair_dinov3(p.drawn("v3"))
    state["rope_embed.periods"] = state["rope_embed.periods"] * 2
    with pytest.raises(
        TeacherError, match=r"periods from 2 to .*, and those of the network from 1"
    ):
        open_file(written(tmp_path, "other.pth", state))


def test_the_sizes_in_our_tables_are_those_of_timm_s_networks():
    timm = pytest.importorskip("timm")
    names = {width: f"vit_{size}_patch14_dinov2" for width, size in large.DINOV2.items()}
    for (width, gated), size in large.DINOV3.items():
        if (width, gated) != (1024, True):  # which timm has no name for
            tail = "" if size == "7b" else "_qkvb"
            names[width, gated] = f"vit_{size}_patch16_dinov3{tail}"
    plain = {192: "tiny", 384: "small", 768: "base", 1024: "large", 1280: "huge"}
    names |= {
        (width,): f"vit_{size}_patch{14 if size == 'huge' else 16}_224"
        for width, size in plain.items()
    }
    for key, name in names.items():
        with torch.device("meta"):
            model = timm.create_model(name)
        width = key if isinstance(key, int) else key[0]
        assert (model.embed_dim, len(model.blocks)) == (width, large.DEPTHS.get(width, 12)), name
        if not isinstance(key, tuple) or len(key) == 1:
            assert model.blocks[0].attn.num_heads == large.HEADS[width], name
        elif len(key) == 2:
            assert hasattr(model.blocks[0].mlp, "fc1_g") == key[1], name


def test_a_gated_large_dinov3_which_timm_has_no_name_for_is_built(tmp_path):
    pytest.importorskip("timm")
    ours = p.weights(width=1024, depth=1, patch=16, registers=4, gated=True, hidden=4096)
    source = open_file(written(tmp_path, "vitl16plus.pth", p.in_fair_dinov3(ours)))
    pixels = torch.randint(0, 256, (1, 3, 32, 32)).float()
    image = (pixels / 255 - torch.tensor([0.485, 0.456, 0.406])[:, None, None]) / torch.tensor(
        [0.229, 0.224, 0.225]
    )[:, None, None]
    expected = p.tokens(ours, image, heads=16, eps=1e-5)[:, 0]
    torch.testing.assert_close(source.frozen(32)(pixels), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("layout", [p.in_fair_dinov2, p.in_fair_dinov3, p.in_transformers_dinov2])
def test_a_file_whose_layers_have_other_dimensions_is_refused_whichever_it_is(tmp_path, layout):
    pytest.importorskip("timm")
    three = layout is p.in_fair_dinov3
    sizes = dict(registers=4) if three else dict(grid=4)
    state = layout(p.weights(width=192, patch=16, depth=1, **sizes))
    open_file(written(tmp_path, "whole.pth", state))
    taken = []
    may_lack = ("mask", "periods", "qkv.bias")  # some networks have none of these
    for key, value in state.items():
        wrongs = {"short": value[..., :-1], "nested": value[None], "one": value.flatten()[:1]}
        for kind, wrong in (wrongs | {"none": None}).items():
            if "mask" in key or (wrong is None and key.endswith(may_lack)):
                continue
            changed = {k: v for k, v in state.items() if k != key}
            changed |= {} if wrong is None else {key: wrong.clone()}
            torch.save(changed, tmp_path / "bent.pth")
            with contextlib.suppress(TeacherError, CheckpointError):
                taken.append((key, kind, open_file(tmp_path / "bent.pth").settings))
    assert taken == []
