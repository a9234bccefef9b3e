# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A path, whatever it holds, stays a path in the files that a run hands on."""

import ast
import shlex
from pathlib import Path

import pytest
from mmengine.config import Config

from xmoco_plugin.pretraining import unfit_for_configs
from xmoco_plugin.pretraining.hand_over import DETECTOR, SEGMENTOR, _in_comment, _in_config

PATHS = (
    *('/runs/it\'s "mine"', "/runs/{{ fileDirname }}", "/runs/{{$HOME:x}} $(x) `x`", "/runs/a b"),
    *("/runs/two\nimport os", "/runs/{{{{_base_.model}}", "/runs/\udcff", "/runs/'{{", "/a\\nb"),
)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("template", [DETECTOR, SEGMENTOR])
def test_a_fine_tuning_config_gives_the_path_back(tmp_path, path, template):
    weights, file = Path(path, "backbone.pth"), Path(path, "finetune.py")
    names = dict(weights_line=_in_comment(weights), file_line=_in_comment(file))
    text = template.format(
        weights=_in_config(weights), depth=18, channels=[1], last=1, third=1, **names
    )
    text = "".join(line for line in text.splitlines(True) if "_base_ = " not in line)
    assert not [node for node in ast.walk(ast.parse(text)) if isinstance(node, ast.Import)]
    (tmp_path / "finetune.py").write_text(text, "utf-8")
    cfg = Config.fromfile(tmp_path / "finetune.py", import_custom_modules=False)
    assert cfg.pretrained == str(weights)
    if path.isprintable():
        [line] = [line for line in text.splitlines() if line.startswith("# xmoco")]
        assert shlex.split(line.removeprefix("# "))[2] == str(weights)


@pytest.mark.parametrize(
    ("name", "message"), [("a\nb", "line break"), ("a\x1bb", "control"), ("{{ a }}", "mmengine")]
)
def test_a_folder_that_no_config_can_name_is_refused(tmp_path, monkeypatch, name, message):
    assert message in unfit_for_configs(tmp_path / name)
    (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / name)
    assert message in unfit_for_configs(Path("run"))
    assert unfit_for_configs(tmp_path / "it's { $fine }") is None
