# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/browse_views.py: pictures and a table in which a transform without effect is seen."""

from dataclasses import replace

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image

from xmoco_plugin.views import ViewRecipe, draw_parameters, recipe_steps
from xmoco_plugin.views.two_views import view_in_bytes

from .tool_modules import import_tool, run_tool
from .tools_config import CONFIG, draw


@TRANSFORMS.register_module(force=True)
class LazyBlur(BaseTransform):
    """Says that it blurs every second image, and blurs none."""

    prob = 0.5

    def transform(self, results: dict) -> dict:
        return results


@pytest.fixture(scope="module")
def tool():
    return import_tool("browse_views")


def browse(tool, monkeypatch, *arguments) -> int:
    return run_tool(tool, monkeypatch, *arguments)


def test_pictures_and_table_show_a_transform_that_does_nothing(tool, monkeypatch, tmp_path, capsys):
    config = draw(tmp_path)
    flip = "dict(type='RandomFlip'"
    config.write_text(CONFIG.replace(flip, f"dict(type='LazyBlur'), {flip}"))
    out = tmp_path / "views"
    options = ["--data-root", tmp_path / "images", "--out", out, "--number", 2, "--runs", 200]
    options += ["--seed", 1]
    assert browse(tool, monkeypatch, config, *options) == 0
    lines = (out / "transforms.txt").read_text().splitlines()
    assert (out / "transforms.txt").read_text() in capsys.readouterr().out
    lazy = next(line for line in lines if "LazyBlur" in line)
    flip = next(line for line in lines if "RandomFlip" in line)
    assert lazy.split()[:2] == ["50.0%", "0.0%"]
    assert lazy.endswith("NOT AS STATED")
    assert "prob=0.5" in flip
    assert not flip.endswith("NOT AS STATED")
    assert [file.name for file in sorted(out.glob("*.png"))] == ["views_00.png", "views_01.png"]
    with Image.open(out / "views_00.png") as picture:
        assert len(np.unique(np.asarray(picture.convert("RGB")).reshape(-1, 3), axis=0)) > 50
    # Called again for fewer images, it leaves none of its old pictures, and all other files.
    (out / "views_of_mine.png").touch()
    assert browse(tool, monkeypatch, config, *options, "--number", 1) == 0
    left = sorted(file.name for file in out.glob("*.png"))
    assert left == ["views_00.png", "views_of_mine.png"]


def test_a_pipeline_of_single_views_is_refused_with_what_it_has(
    tool, monkeypatch, tmp_path, capsys
):
    config = draw(tmp_path)
    start, end = (
        CONFIG.index("        dict(type='MultiView'"),
        CONFIG.index("        dict(type='Pack"),
    )
    config.write_text(CONFIG[:start] + CONFIG[end:])
    arguments = [config, "--data-root", tmp_path / "images", "--out", tmp_path / "views"]
    assert browse(tool, monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    assert "no MultiView and no TwoViews, but LoadImageFromFile, PackInputs" in said
    assert not (tmp_path / "views").exists()


def test_missing_data_are_named(tool, monkeypatch, tmp_path, capsys):
    assert browse(tool, monkeypatch, draw(tmp_path), "--data-root", tmp_path / "gone") == 2
    assert "gone" in capsys.readouterr().err


START, END = (CONFIG.index(f"        dict(type='{name}") for name in ("MultiView'", "Pack"))
MULTI = CONFIG[START:END]
ON_DEVICE = CONFIG.replace(MULTI, "").replace(
    "dict(type='SelfSupDataPreprocessor'",
    "dict(type='TwoViewDataPreprocessor', views=dict(size=8, blur_prob=0.0)",
)
STEPWISE = {
    "TwoViews": CONFIG.replace(MULTI, "dict(type='TwoViews', views=dict(size=8, blur_prob=0.0)),"),
    "TwoViewDataPreprocessor": ON_DEVICE,
}


@pytest.mark.parametrize("name", STEPWISE)
def test_views_that_are_made_in_one_go_are_shown_step_by_step(tool, monkeypatch, tmp_path, name):
    config, out = draw(tmp_path), tmp_path / "views"
    config.write_text(STEPWISE[name])
    options = ["--data-root", tmp_path / "images", "--out", out, "--number", 1, "--runs", 300]
    assert browse(tool, monkeypatch, config, *options) == 0
    text = (out / "transforms.txt").read_text()
    stated = [line.split()[0] for line in text.splitlines() if "view: " in line]
    assert stated == ["100.0%", "80.0%", "20.0%", "50.0%"]  # crop, jitter, grey, flip
    assert "NOT AS STATED" not in text
    assert (out / "views_00.png").is_file()


def test_the_steps_of_a_recipe_are_what_the_views_are_made_of():
    recipe = ViewRecipe(size=12, solarize_prob=1.0, flip_prob=1.0, jitter_prob=0.0, blur_prob=0.0)
    image = np.random.default_rng(0).integers(0, 256, (12, 12, 3), dtype=np.uint8)
    recipe = replace(recipe, crop_scale=(1, 1), crop_ratio=(1, 1), grey_prob=0.0)
    sample = dict(img=image)
    for step in recipe_steps(recipe):
        sample = step(sample)
    drawn = draw_parameters(recipe, [(12, 12)], np.random.default_rng(1))
    np.testing.assert_array_equal(sample["img"], view_in_bytes(image, recipe, drawn))
