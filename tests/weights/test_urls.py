# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Weights by URL, through the tools; those by path: tests/hostile."""

from pathlib import Path

import pytest

from ..test_eval_knn import write_config
from ..tool_modules import import_tool, run_tool
from ..tools_config import draw as draw_images
from .hostile import with_code
from .server import serving


def _train(options):
    def words(file: Path, here: Path) -> list:
        config = draw_images(here)
        return [config, "--data-root", here / "images", "--work-dir", here / "work", *options(file)]

    return words


def _of_config(*keys: str):
    return lambda file: ["--cfg-options", *(key.format(file) for key in keys)]


@pytest.mark.parametrize("way", ["load_from", "resume", "init_cfg", "pretrained", "test"])
def test_code_that_comes_from_a_url_is_not_run_by_training_nor_by_testing(
    way, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    file, mark = with_code(tmp_path)
    with serving({"/w.pth": (200, {}, file.read_bytes())}) as (address, asked):
        url = f"{address}/w.pth"
        options = {
            "load_from": _of_config(f"load_from={url}"),
            "resume": lambda _: ["--resume", url],
            "init_cfg": _of_config(
                "model.backbone.init_cfg.type=Pretrained",
                f"model.backbone.init_cfg.checkpoint={url}",
            ),
            "pretrained": _of_config(f"model.pretrained={url}"),
        }
        if way == "test":
            words = [
                write_config(tmp_path, custom_hooks=[]),
                url,
                "--work-dir",
                tmp_path / "tested",
            ]
        else:
            words = _train(options[way])(file, tmp_path)
        module = import_tool("test" if way == "test" else "train")
        assert run_tool(module, monkeypatch, *words) == 2
    assert asked == ["/w.pth"]
    assert "mkdir, which could do anything" in capsys.readouterr().err
    assert not mark.exists()
