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


def test_runs_from_scratch_by_equal_names_out_of_two_pretrainings_have_two_folders(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    roots, given = [], config(tmp_path)
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "options.json").write_text("{}")
        file = f"{name}/finetune_mmdet.py"
        roots.append(transfer.usual_root(file, "scratch", given, [0]))
        assert transfer.usual_root(str(tmp_path / file), "scratch", given, [0]) == roots[-1]
        assert roots[-1].name.startswith(f"scratch_{name}_")
        assert transfer.usual_root(file, "0a1b2c3d", given, [0]).name == "0a1b2c3d"
    assert roots[0] != roots[1]
    assert transfer.usual_root("finetune_mmdet.py", "scratch", given, [0]).name == "scratch"


def test_a_run_from_scratch_in_a_folder_without_the_pretraining_s_name_is_gone_on_with(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "first").mkdir()
    (tmp_path / "first" / "options.json").write_text("{}")
    old = transfer.Path("work_dirs", "transfer", "finetune_mmdet", "scratch")
    old.mkdir(parents=True)
    made = transfer.config_of_run(config(tmp_path), old / "seed_0", 0)
    (old / "seed_0.py").write_text(made.pretty_text)
    root = lambda cfg: transfer.usual_root("first/finetune_mmdet.py", "scratch", cfg, [0, 1])  # noqa: E731
    assert root(config(tmp_path)) == old
    assert root(config(tmp_path, momentum=0.5)) != old
