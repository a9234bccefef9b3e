# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from pathlib import Path

import mmpretrain
import pytest
from mmengine.config import Config

from xmoco_plugin.views import RECIPES, ViewRecipe, build_recipes

HOST = Path(mmpretrain.__file__).parent / ".mim" / "configs" / "_base_" / "datasets"


def host_pipelines(name: str) -> list[list[dict]]:
    """mmpretrain's own view pipelines of a data set config."""
    cfg = Config.fromfile(HOST / f"{name}.py")
    multi_view = next(t for t in cfg.train_pipeline if t.type == "MultiView")
    return [list(p) for p in multi_view.transforms] * (3 - len(multi_view.transforms))


@pytest.mark.parametrize(
    ("name", "host"), [("mocov2", "imagenet_bs32_mocov2"), ("mocov3", "imagenet_bs512_mocov3")]
)
def test_recipes_have_the_numbers_of_mmpretrains_configs(name, host):
    for recipe, pipeline in zip(build_recipes(name), host_pipelines(host), strict=True):
        steps = {step.type: step for step in pipeline}
        crop, jitter = steps["RandomResizedCrop"], steps["RandomApply"].transforms[0]
        assert (recipe.size, recipe.crop_scale) == (crop.scale, tuple(crop.crop_ratio_range))
        assert recipe.jitter_prob == steps["RandomApply"].prob
        for key in ("brightness", "contrast", "saturation", "hue"):
            assert getattr(recipe, key) == jitter[key], key
        assert recipe.grey_prob == steps["RandomGrayscale"].prob
        assert recipe.blur_prob == steps["GaussianBlur"].prob
        assert recipe.blur_sigma == tuple(steps["GaussianBlur"].magnitude_range)
        assert recipe.solarize_prob == steps.get("Solarize", dict(prob=0))["prob"]
        assert recipe.flip_prob == steps["RandomFlip"].prob


def test_moco_v1_greys_before_it_always_jitters_and_never_blurs():
    first, second = build_recipes("mocov1")
    assert first == second
    assert first.grey_first
    assert (first.jitter_prob, first.hue, first.blur_prob) == (1.0, 0.4, 0.0)


@pytest.mark.parametrize("name", ["mocov1", "mocov2", "mocov3"])
def test_a_weak_key_is_cropped_and_mirrored_alone_and_its_query_is_the_recipes(name):
    query, key = build_recipes(f"{name}_weak_key")
    assert query == build_recipes(name)[0]
    plain = dict(jitter_prob=0.0, grey_prob=0.0, blur_prob=0.0, solarize_prob=0.0)
    assert {field: getattr(key, field) for field in plain} == plain
    assert (key.crop_scale, key.flip_prob) == ((0.2, 1.0), 0.5)
    assert build_recipes("weak") == (key, key)


def test_changes_apply_to_both_views_or_to_each():
    assert build_recipes(dict(size=32)) == (ViewRecipe(size=32),) * 2
    first, second = build_recipes([dict(recipe="mocov3", size=[96, 64]), "mocov3"])
    assert first.shape == (96, 64)
    assert second == RECIPES["mocov3"][1]


@pytest.mark.parametrize(
    ("views", "message"),
    [
        ("mocov9", "no recipe 'mocov9'.*mocov1, mocov2, mocov3"),
        (["mocov2"] * 3, "two views, but views names 3"),
        (dict(blurr_prob=1), "no blurr_prob; it has size.*blur_prob"),
        (dict(blur_prob=1.5), "blur_prob is 1.5; it must be a probability"),
        (dict(hue=0.6), "hue is 0.6"),
        (dict(crop_scale=(0, 1)), r"crop_scale is \(0, 1\)"),
        (dict(size=0), "size is 0"),
        (dict(interpolation="lanczos"), "lanczos.*bilinear"),
        (dict(brightness=-1), "brightness is -1"),
    ],
)
def test_a_value_out_of_its_range_is_named(views, message):
    with pytest.raises(ValueError, match=message):
        build_recipes(views)
