# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run folder is data: nothing in it is run, and no name in it is followed out of it."""

import shutil
from pathlib import Path

import pytest

from xmoco_plugin._config_scope import config_path
from xmoco_plugin.visualization.report import WorkDir, write_report
from xmoco_plugin.visualization.report.config_diff import is_installed

from ...tool_modules import import_tool, run_tool
from . import made_runs


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> Path:
    return made_runs.train(tmp_path_factory.mktemp("runs") / "run", epochs=1)


@pytest.fixture
def run(trained, tmp_path) -> Path:
    """A copy whose config is the only *.py in it."""
    shutil.copytree(trained, tmp_path / "run")
    (config,) = (tmp_path / "run").glob("*.py")
    config.rename(tmp_path / "run" / "config.py")
    return tmp_path / "run"


def code(mark: Path) -> str:
    return f"import os\nos.mkdir({str(mark)!r})\n"


@pytest.mark.parametrize("name", ["report", "runs"])
def test_code_in_a_config_is_named_and_not_run(run, tmp_path, monkeypatch, capsys, name):
    mark = tmp_path / "MARK"
    config = run / "config.py"
    config.write_text(code(mark) + config.read_text())
    assert run_tool(import_tool(name), monkeypatch, run) == 0
    assert not mark.exists()
    if name == "report":
        assert "config.py: line 1: import os and 1 more" in capsys.readouterr().out
        assert 'id="views-0"' in (run / "report.html").read_text()


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("type='XMoCoHead'", "type='os.mkdir', name=MARK"),
        ("type='PackInputs'", "type='os.mkdir', path=MARK"),
        ("type='TinyImages'", "type='os.mkdir', name=MARK"),
        ("type='default_collate'", "type='os.mkdir'"),
        ("type='DefaultSampler'", "type='os.mkdir'"),
    ],
)
def test_a_config_that_names_a_function_builds_nothing(
    run, tmp_path, monkeypatch, capsys, old, new
):
    mark = tmp_path / "MARK"
    config = run / "config.py"
    assert old in config.read_text()
    config.write_text(config.read_text().replace(old, new.replace("MARK", repr(str(mark)))))
    assert run_tool(import_tool("report"), monkeypatch, run, "--data-root", "x") == 0
    assert not mark.exists()
    printed = capsys.readouterr().out
    assert "The data of the config: " in printed
    assert "type 'os.mkdir' is no registered class" in printed
    assert 'id="curve-loss"' in (run / "report.html").read_text()


@pytest.mark.parametrize("where", ["test_dataloader", "train_cfg", "test_cfg"])
def test_no_type_of_a_part_that_a_report_does_not_build_is_imported(
    run, tmp_path, monkeypatch, where
):
    mark = tmp_path / "MARK"
    (tmp_path / f"evil_{where}.py").write_text(code(mark) + "class X:\n    pass\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    loader = f"dict(dataset=dict(type='evil_{where}.X'))"
    inside = f"{where} = dict(bank_dataloader={loader})"
    with open(run / "config.py", "a") as file:
        file.write(f"{where} = {loader}\n" if where == "test_dataloader" else f"{inside}\n")
    assert run_tool(import_tool("report"), monkeypatch, run, "--data-root", "x") == 0
    assert not mark.exists()


def test_a_base_outside_the_installed_package_is_not_followed(run, tmp_path):
    mark, elsewhere = tmp_path / "MARK", tmp_path / "elsewhere.py"
    elsewhere.write_text(code(mark))
    name = "mmpretrain::mocov2/" + "../" * 40 + str(elsewhere).lstrip("/")
    (run / "opening.txt").write_text(f"differences from {name}\n")
    read = WorkDir.read(run)
    write_report([read], tmp_path / "page.html", images=8, say=lambda text: None)
    assert not mark.exists()
    assert not is_installed(name)
    assert any("Differences of the config" in line for line in read.missing)


def test_a_base_inside_the_installed_package_is_shown():
    assert is_installed("mmpretrain::mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py")
    assert not is_installed("mmpretrain::mocov2/no_such.py")


def test_a_name_of_this_package_leads_to_no_other_folder(tmp_path):
    (tmp_path / "elsewhere.py").write_text("")
    with pytest.raises(FileNotFoundError, match="has no config"):
        config_path("../" * 40 + str(tmp_path / "elsewhere.py").lstrip("/"))


def test_first_weights_and_pickles_that_a_config_names_are_not_read(run, tmp_path):
    config = run / "config.py"
    text = config.read_text()
    config.write_text(text.replace("type='TinyImages'", "type='TinyImages', ann_file='a.pkl'"))
    read = WorkDir.read(run)
    write_report([read], tmp_path / "page.html", images=8, say=lambda text: None)
    assert any("a.pkl" in line for line in read.missing)
    config.write_text(
        text.replace(
            "type='TinyEncoder'",
            "type='TinyEncoder', init_cfg=dict(type='Pretrained', checkpoint='http://x/y.pth')",
        )
    )
    read = WorkDir.read(run)
    write_report([read], tmp_path / "page.html", images=8, say=lambda text: None)
    assert 'id="views-0"' in (tmp_path / "page.html").read_text()
