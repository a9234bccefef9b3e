# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/browse_views.py: pictures and a table in which a transform without effect is seen."""

import numpy as np
import pytest
from mmcv.transforms import BaseTransform
from mmpretrain.registry import TRANSFORMS
from PIL import Image

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
    assert "no MultiView, but LoadImageFromFile, PackInputs" in said
    assert "TwoViews or TwoViewDataPreprocessor" in said
    assert not (tmp_path / "views").exists()


def test_missing_data_are_named(tool, monkeypatch, tmp_path, capsys):
    assert browse(tool, monkeypatch, draw(tmp_path), "--data-root", tmp_path / "gone") == 2
    assert "gone" in capsys.readouterr().err
