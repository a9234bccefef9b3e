# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A folder of fine-tunings that was moved or copied is gone on with; another run's is not."""

import pytest
from mmengine.config import Config

from ..tool_modules import import_tool

transfer = import_tool("transfer")


def config(root, **settings) -> Config:
    """Of a run of few_labels: weights and the list of its images lie in the folder of all runs."""
    return Config(
        dict(
            model=dict(init_cfg=dict(type="Pretrained", checkpoint=str(root / "pretrained.pth"))),
            train_dataloader=dict(dataset=dict(ann_file=str(root / "images/1pct.json"))),
            lr=0.1,
            **settings,
        )
    )


@pytest.fixture
def written(tmp_path):
    root = tmp_path / "old"
    folder = root / "scratch" / "1pct" / "seed_0"
    folder.parent.mkdir(parents=True)
    made = transfer.config_of_run(config(root), folder, 0, root)
    folder.with_suffix(".py").write_text(made.pretty_text)
    return root


def test_a_moved_run_is_the_same_run_with_its_paths_where_it_lies_now(written, tmp_path):
    root = written.rename(
        tmp_path / "a much longer name, so that lines of the config break otherwise"
    )
    folder = root / "scratch" / "1pct" / "seed_0"
    cfg = transfer.config_of_run(config(root), folder, 0, root)
    assert cfg.work_dir == str(folder)
    assert str(tmp_path / "old") not in cfg.pretty_text


@pytest.mark.parametrize("change", [dict(momentum=0.5), dict(work="elsewhere")])
def test_a_run_with_other_settings_is_refused_wherever_it_lies(written, tmp_path, change):
    root = written.rename(tmp_path / "new")
    folder = root / "scratch" / "1pct" / "seed_0"
    with pytest.raises(ValueError, match="holds a run with other settings"):
        transfer.config_of_run(config(root, **change), folder, 0, root)


def test_a_config_that_counts_epochs_says_what_sets_its_length():
    cfg = Config(dict(train_cfg=dict(max_epochs=12)))
    with pytest.raises(ValueError, match=r"counts epochs \(12\).*train_cfg\.max_epochs=N"):
        transfer.stretch(cfg, 5)
