# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A frozen network: its own size, channels and normalisation, and nothing of it moves."""

import copy

import pytest
import torch
from mmpretrain.registry import MODELS
from torch import nn

from xmoco_plugin.teachers import FrozenTeacher, TeacherError, as_pixels, network
from xmoco_plugin.teachers.network import places_of

ARCH = dict(embed_dims=16, num_layers=1, num_heads=2, feedforward_channels=16)


class Seen(nn.Module):
    """Keeps what it was given."""

    def __init__(self, channels: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 4, 1)
        self.norm = nn.BatchNorm2d(4)

    def forward(self, x):
        self.given = x
        return (self.norm(self.conv(x)),)


def tiny_vit(**options):
    return MODELS.build(
        dict(type="mmpretrain.VisionTransformer", arch=ARCH, img_size=28, patch_size=14, **options)
    )


def test_it_gets_its_own_size_and_normalisation_and_stays_in_eval_mode():
    seen = Seen()
    teacher = FrozenTeacher(seen, 8, mean=(10, 20, 30), std=(1, 2, 4)).train()
    pixels = torch.full((2, 3, 16, 16), 50, dtype=torch.uint8)
    before = copy.deepcopy(teacher.state_dict())
    features = teacher(pixels)
    assert features.shape == (2, 4)
    assert not features.requires_grad
    torch.testing.assert_close(seen.given[0, :, 3, 3], torch.tensor([40.0, 15.0, 5.0]))
    assert seen.given.shape == (2, 3, 8, 8)
    assert not any(m.training for m in teacher.modules())
    assert all(torch.equal(before[k], v) for k, v in teacher.state_dict().items())


def test_a_grey_teacher_sees_the_luminance_of_colours():
    seen = Seen(1)
    teacher = FrozenTeacher(seen, 8, mean=(100, 100, 100), std=(50, 50, 50))
    pixels = torch.zeros(1, 3, 8, 8)
    pixels[:, 1] = 255
    teacher(pixels)
    assert seen.given.shape == (1, 1, 8, 8)
    assert seen.given.mean().item() == pytest.approx((0.587 * 255 - 100) / 50)


def test_channels_that_no_picture_has_are_refused():
    with pytest.raises(TeacherError, match="images of 4 channels, and pictures have 1 or 3"):
        FrozenTeacher(Seen(4), 8)
    with pytest.raises(TeacherError, match="mean has 2 numbers"):
        FrozenTeacher(Seen(), 8, mean=(1, 2))


def test_a_size_that_patches_do_not_divide_is_refused_with_the_nearest():
    with pytest.raises(TeacherError, match=r"patches of 14 px .* are 28 and 42"):
        FrozenTeacher(tiny_vit(), 32)
    assert FrozenTeacher(tiny_vit(), 42).width() == 16  # the positions are stretched


def test_a_size_that_a_network_does_not_take_is_named():
    class Picky(Seen):
        def forward(self, x):
            raise AssertionError("Input height (8) doesn't match model (224)")

    with pytest.raises(TeacherError, match=r"takes no images of 8 px: Input height"):
        FrozenTeacher(Picky(), 8).width()


def test_a_vision_transformer_of_one_vector_gives_its_places_too_in_one_pass():
    one, whole = tiny_vit(), tiny_vit(out_type="featmap")
    whole.load_state_dict(one.state_dict())
    pixels = torch.rand(2, 3, 28, 28) * 255
    teacher = FrozenTeacher(one, 28)
    features, places = teacher.with_places(pixels)
    torch.testing.assert_close(features, teacher(pixels))
    expected = FrozenTeacher(whole, 28).with_places(pixels)[1]
    assert places.shape == (2, 16, 2, 2)
    torch.testing.assert_close(places, expected)
    assert one.out_type == "cls_token"


def test_places_of_maps_and_of_tokens_after_those_of_no_patch():
    features, places = FrozenTeacher(Seen(), 8).with_places(torch.zeros(1, 3, 8, 8))
    torch.testing.assert_close(places.mean(dim=(2, 3)), features)
    tokens = torch.arange(2 * 6 * 3).view(2, 6, 3)  # two of no patch, four of a grid
    assert torch.equal(places_of((tokens,), 2)[1, :, 1, 0], tokens[1, 4].float())
    with pytest.raises(TeacherError, match=r"gives \(2, 6, 3\) and no map"):
        places_of(tokens, 0)
    with pytest.raises(TeacherError, match="with a feature map, or dense=None"):
        places_of(torch.zeros(2, 3), 0)


def test_maps_of_timm_with_channels_last_are_pooled_over_their_places():
    class Last(Seen):
        output_fmt = "NHWC"

        def forward(self, x):
            return (super().forward(x)[0].permute(0, 2, 3, 1),)

    torch.manual_seed(0)
    first, last = Seen(), Last()
    last.load_state_dict(first.state_dict())
    pixels = torch.rand(2, 3, 6, 8) * 255
    expected, found = (FrozenTeacher(net, 8).with_places(pixels) for net in (first, last))
    torch.testing.assert_close(found, expected)
    assert FrozenTeacher(last, 8).width() == 4


@pytest.mark.parametrize("to_rgb", [True, False])
def test_views_of_the_student_become_the_pixels_that_they_were(to_rgb):
    preprocessor = MODELS.build(
        dict(
            type="mmpretrain.SelfSupDataPreprocessor",
            mean=[10.0, 20.0, 30.0],
            std=[2.0, 3.0, 4.0],
            to_rgb=to_rgb,
        )
    )
    bgr = torch.randint(0, 256, (2, 3, 4, 4), dtype=torch.uint8)
    views = preprocessor(dict(inputs=[bgr.clone()], data_samples=[]), training=True)["inputs"][0]
    torch.testing.assert_close(as_pixels(views, preprocessor), bgr.flip(1).float())
    with pytest.raises(TeacherError, match="4 channels"):
        as_pixels(torch.zeros(1, 4, 2, 2), preprocessor)


@pytest.mark.parametrize("known", [False, True])
def test_it_computes_in_bfloat16_where_the_processor_multiplies_in_it(monkeypatch, known):
    monkeypatch.setattr(network, "multiplies_bfloat16", lambda: known)
    torch.manual_seed(0)
    teacher = FrozenTeacher(Seen(), 8)
    pixels = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    exact = teacher(pixels)
    assert teacher.in_bfloat16("cpu") is known
    features = teacher(pixels)
    assert features.dtype == torch.float32
    assert torch.equal(features, exact) is not known
    torch.testing.assert_close(features, exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize("known", [False, True])
def test_a_gpu_that_only_emulates_bfloat16_computes_in_float32(monkeypatch, known):
    def supported(including_emulation=True):
        return known or including_emulation

    monkeypatch.setattr(torch.cuda, "is_bf16_supported", supported)
    assert FrozenTeacher(Seen(), 8).in_bfloat16("cuda") is known


def test_weights_of_five_dimensions_are_taken_as_they_are():
    seen = Seen()
    seen.volume = nn.Conv3d(1, 1, 1)
    assert FrozenTeacher(seen, 8)(torch.zeros(1, 3, 8, 8)).shape == (1, 4)


def test_a_device_of_which_nothing_is_known_computes_in_float32():
    assert FrozenTeacher(Seen(), 8).in_bfloat16("meta") is False


def test_a_training_with_mixed_precision_decides_over_the_teacher_that_it_asks():
    teacher = FrozenTeacher(Seen(), 8)
    pixels = torch.randint(256, (2, 3, 8, 8), dtype=torch.uint8)
    exact = teacher(pixels)
    with torch.autocast("cpu", torch.bfloat16):
        assert not torch.equal(teacher(pixels), exact)


def test_a_teacher_of_bgr_sees_the_channels_in_its_order_and_normalises_them_so():
    seen = Seen()
    teacher = FrozenTeacher(seen, 8, mean=(10, 20, 30), std=(1, 2, 4), bgr=True)
    pixels = torch.tensor([50.0, 60.0, 70.0])[None, :, None, None].expand(1, 3, 8, 8)
    teacher(pixels)
    torch.testing.assert_close(seen.given[0, :, 3, 3], torch.tensor([60.0, 20.0, 5.0]))


@pytest.mark.parametrize("kind", ["MAEViT", "MILANViT"])
def test_a_network_of_masked_image_modelling_sees_whole_images(kind):
    whole = tiny_vit()
    masked = MODELS.build(
        dict(type=f"mmpretrain.{kind}", arch=ARCH, img_size=28, patch_size=14, mask_ratio=0.75)
    )
    masked.load_state_dict(whole.state_dict())
    pixels = torch.rand(2, 3, 28, 28) * 255
    found, expected = FrozenTeacher(masked, 28)(pixels), FrozenTeacher(whole, 28)(pixels)
    torch.testing.assert_close(found, expected)


def test_a_teacher_that_draws_what_it_looks_at_is_refused():
    hides = MODELS.build(
        dict(type="mmpretrain.MFFViT", arch=ARCH, img_size=28, patch_size=14, out_indices=[0])
    )
    with pytest.raises(TeacherError, match="other features when it is asked again"):
        FrozenTeacher(hides, 28).width()
