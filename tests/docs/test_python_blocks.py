# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every block of Python on the pages is run: configs are built, other code is executed."""

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import HOOKS, DefaultScope
from mmpretrain.registry import DATASETS, MODELS

import xmoco_plugin  # noqa: F401  (registers what the blocks name)
from xmoco_plugin.heads import RegularizedHead

from ..models import save_checkpoint
from ..pretraining.folder import draw
from ..shrunken import shrunken
from .pages import PAGES, blocks_of, name_of, text_of

BLOCKS = [
    pytest.param(block, id=f"{name_of(page)}-{number}")
    for page in PAGES
    for number, block in enumerate(blocks_of(page, "python"))
]


@pytest.fixture(autouse=True)
def host():
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        yield


@pytest.fixture
def registered_again():
    """What a block registers is gone afterwards."""
    before = dict(MODELS._module_dict)
    for name in ("SpreadHead", "TwoViews"):  # another test's, of the same names
        MODELS._module_dict.pop(name, None)
    yield
    MODELS._module_dict.clear()
    MODELS._module_dict.update(before)


@pytest.mark.parametrize("block", BLOCKS)
def test_it_runs(block, tmp_path, registered_again):
    draw(tmp_path / "images", 3)
    model = save_checkpoint(tmp_path / "ckpt.pth")
    code = block.replace("/path/to/images", str(tmp_path / "images"))
    code = code.replace("CKPT", str(tmp_path / "ckpt.pth"))
    if "_base_" in code:
        (tmp_path / "config.py").write_text(code)
        cfg = Config.fromfile(tmp_path / "config.py")
        assert MODELS.build(shrunken(cfg.model)).head is not None
        if "data_root" in code:
            dataset = DATASETS.build(cfg.train_dataloader.dataset)
            assert len(dataset) == 3
            assert len(dataset[0]["inputs"]) == 2
        return
    names = dict(MODELS=MODELS, RegularizedHead=RegularizedHead, model=model)
    exec(compile(code, "block", "exec"), names)
    for hook in [*names.get("custom_hooks", ()), *names.get("default_hooks", {}).values()]:
        HOOKS.build(hook)
    if "init_cfg" in code:  # the weights arrive in a model of the same family
        init = names["model"]["backbone"]["init_cfg"]
        backbone = MODELS.build(dict(type="ResNet", depth=18))
        weights = {f"backbone.{key}": value for key, value in backbone.state_dict().items()}
        torch.save(dict(state_dict=weights), init["checkpoint"])
        other = MODELS.build(dict(type="ResNet", depth=18, init_cfg=init))
        other.init_weights()
        assert torch.equal(other.conv1.weight, backbone.conv1.weight)


def test_the_pages_that_users_read_have_blocks():
    assert sum("docs/" in block.id for block in BLOCKS) >= 10
    assert "```py\n" not in "".join(map(text_of, PAGES))  # a language that this file would miss
