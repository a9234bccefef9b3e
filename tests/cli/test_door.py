# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The command xmoco: what it imports before it must, what it says of mistakes, what it starts."""

import json
import os
import subprocess
import sys
from importlib import import_module, util
from pathlib import Path
from runpy import run_path

import pytest

import xmoco
from xmoco_plugin.cli import launcher, processes
from xmoco_plugin.cli.options import COMMANDS, build

from ..tool_modules import ROOT, TOOLS

CLI = ROOT / "xmoco_plugin" / "cli"
# Each takes a part of the seven seconds that the hosts' import takes, or is the package itself.
HEAVY = (
    *("torch", "torchvision", "mmengine", "mmcv", "mmpretrain", "mmdet", "mmseg", "numpy", "cv2"),
    *("sklearn", "scipy", "matplotlib", "PIL", "rich", "jinja2", "xmoco_plugin"),
)
LIGHT = f"""
import contextlib, io, json, sys, xmoco
lines = json.loads(sys.argv[1])
for words in lines:
    status, said = 0, io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
        try:
            status = xmoco.door()["main"](words)
        except SystemExit as end:
            status = end.code
    heavy = sorted(set({HEAVY}) & set(sys.modules))
    print(json.dumps([words, status, bool(said.getvalue()), heavy]))
"""


@pytest.fixture(scope="module")
def door():
    return xmoco.door()["main"]


def said(door, capsys, *words) -> tuple[int, str]:
    """Exit status and stderr of a command line that ends before a command starts."""
    try:
        status = door([*map(str, words)])
    except SystemExit as end:
        status = end.code
    return status, capsys.readouterr().err


def test_help_and_mistakes_import_nothing_that_takes_long(tmp_path):
    config = tmp_path / "config.py"
    config.write_text("")
    helps = [["--help"], ["--version"], *([word, "--help"] for word in COMMANDS)]
    mistakes = [
        ["pretrian"],
        ["pretrain", "--data", "nothing", "--lr", "fast"],
        ["train", str(config), "--work-dri", "x"],
        ["train", str(tmp_path / "no.py")],
        ["test", str(config), str(tmp_path / "no.pth")],
        ["evaluate", str(config), "--protocol", "knm"],
        ["embed", str(config), str(tmp_path), "--out", "x.txt"],
        ["export", str(config), "out", "--to", "tim"],
        ["transfer", str(config), "det", str(config), "--max-iter", "1"],
        ["few-labels", str(config), "det", str(config), "--shares", "0"],
        ["runs", str(tmp_path), "--format", "xls"],
    ]
    done = subprocess.run(
        [sys.executable, "-c", LIGHT, json.dumps(helps + mistakes)],
        env=os.environ | {"PYTHONPATH": str(ROOT)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert found == [
        [words, status, True, []]
        for lines, status in ((helps, 0), (mistakes, 2))
        for words in lines
    ]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["trian"], "trian: there is no such command. The nearest is train."),
        (["pretrain", "--modle", "x"], "--modle: there is no such option. The nearest is --model."),
        (["train", "c", "--work-dri=x"], "there is no such option. The nearest is --work-dir."),
        (["train", "c", "more"], "more: nothing more is expected here."),
        (["train", "c", "--launcher", "slrum"], "pytorch, slurm, mpi. The nearest is slurm."),
        (
            ["pack", "inspect", "p", "--verfy"],
            "--verfy: there is no such option. The nearest is --ve",
        ),
        (["pack", "pack", "f", "o", "--quality", "101"], "101: a whole number from 1 to 100"),
        (["embed", "c", "f", "--out", "o.npz", "--workers", "-1"], "-1: a whole number from 0"),
        (["select", "c", "f", "-n1", "--out=o.csv", f"--seed={2**32}"], "from 0 to 4,294,967,295"),
        (["evaluate", "c", "--protocol", "svn"], "The nearest is svm."),
        (["evaluate", "c", "--lr", "nan"], "nan: a number from 0"),
        (["eval-knn", "c", "c", "--temperature", "0"], '0: a number above 0, or "none"'),
        (["train", "c", "--cfg-options", "a"], "'a': key=value is what it takes"),
        (["train", "no.py"], "There is no config file 'no.py' (looked from "),
        (["test", "c", "no.pth"], "There is no checkpoint no.pth."),
        (["transfer", "no.pth", "det", "c"], "There is no checkpoint no.pth."),
        (["transfer", "scratch", "det", "c", "--no-pin-memry"], "The nearest is --no-pin-memory."),
        (["transfer", "scratch", "det", "c", "--launcher", "slurm"], "it is set for each run."),
        (
            ["few-labels", "scratch", "det", "c", "--shares", "1,5", "--share-iters", "1"],
            "1 numbers",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_mistake_names_the_value_and_what_was_probably_meant(
    door, capsys, monkeypatch, tmp_path, words, message
):
    monkeypatch.chdir(tmp_path)
    Path("c").touch()
    status, text = said(door, capsys, *words)
    assert status == 2
    assert message in " ".join(text.split())


def test_what_train_and_test_have_in_common_passes_through_a_fine_tuning(tmp_path):
    from xmoco_plugin.cli.options import parse

    (tmp_path / "c").touch()
    words = ["scratch", "det", str(tmp_path / "c"), "--amp", "--max-iters", "3", "--no-pin-memory"]
    for name in ("transfer", "few_labels"):
        args = parse(name, words)
        assert args.extra == ["--amp", "--no-pin-memory"]
        assert args.max_iters == 3


@pytest.mark.parametrize("word", COMMANDS)
def test_a_command_has_its_file_its_options_and_its_door(word):
    name = COMMANDS[word]
    assert (CLI / "options" / f"{name}.py").is_file()
    assert (TOOLS / f"{name}.py").is_file() == (word != "doctor")
    assert callable(import_module(f"xmoco_plugin.cli.{name}").main)


@pytest.mark.parametrize("word", [word for word in COMMANDS if word != "pack"])
def test_the_help_of_every_option_with_a_value_names_its_default(word):
    for action in build(COMMANDS[word], word)._actions:
        takes = action.option_strings and action.nargs != 0 and not action.required
        if takes and action.dest not in ("cfg_options", "data", "out"):  # none, or needed
            assert "default" in (action.help or ""), action.option_strings


def test_the_tools_of_a_checkout_say_what_the_command_says_under_their_own_name(tmp_path):
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(TOOLS / "runs.py"), str(tmp_path), "--sotr", "name"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    # Without an installed package, too: -S leaves site-packages out.
    assert done.returncode == 2
    assert done.stderr.startswith("usage: runs.py ")
    assert "runs.py: error: --sotr: there is no such option. The nearest is --sort." in done.stderr


def test_a_lacking_stack_is_one_message_with_the_command_that_mends_it(tmp_path):
    (tmp_path / "config.py").write_text("")
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(TOOLS / "train.py"), str(tmp_path / "config.py")],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: xmoco_plugin cannot use the OpenMMLab stack")
    assert "pip install 'torch" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize("how", [[], ["-I"], ["through a link"]], ids=str)
def test_a_started_command_is_found_by_its_path_however_it_is_reached(tmp_path, how, monkeypatch):
    if how == ["through a link"]:
        (tmp_path / "link").symlink_to(ROOT)
        monkeypatch.setattr(processes, "DOOR", tmp_path / "link/xmoco_plugin/cli/__main__.py")
        how = []
    command = processes.command("test", ["--help"])
    done = subprocess.run(
        [*command[:1], "-S", "-E", *how, *command[1:]],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("usage: xmoco test ")


def test_several_processes_of_one_machine_take_a_free_port_unless_one_is_named(monkeypatch):
    for name in ("NNODES", "NODE_RANK", "MASTER_ADDR", "PORT"):
        monkeypatch.delenv(name, raising=False)
    words = processes.command("train", ["c.py", "--resume"], 3)
    assert words[:4] == [sys.executable, str(processes.LAUNCHER), "3", str(processes.DOOR)]
    assert words[4:] == ["train", "--launcher", "pytorch", "c.py", "--resume"]
    assert launcher.options("3") == ["--standalone", "--nproc_per_node", "3"]
    monkeypatch.setenv("PORT", "29999")
    found = launcher.options("3")
    assert dict(zip(found[::2], found[1::2], strict=True)) == {
        "--nnodes": "1",
        "--node_rank": "0",
        "--nproc_per_node": "3",
        "--master_addr": "127.0.0.1",
        "--master_port": "29999",
    }


def test_what_processes_have_said_is_the_last_word(monkeypatch, capsys):
    from torch.distributed import run
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError, ProcessFailure

    def ends(error):
        def end(words):
            raise error

        monkeypatch.setattr(run, "main", end)
        return launcher.main("1", ["a.py"])

    failure = ProcessFailure(local_rank=0, pid=1, exitcode=2, error_file="none")
    assert ends(ChildFailedError("a.py", {0: failure})) == 2
    assert capsys.readouterr().err == ""
    fault = ProcessFailure(local_rank=0, pid=1, exitcode=1, error_file="none")
    assert ends(ChildFailedError("a.py", {0: fault})) == 1
    said = "error: process 0 (PID 1) ended (with status 1); what it said stands above."
    assert capsys.readouterr().err.startswith(said)
    assert ends(RuntimeError("EADDRINUSE: address already in use")) == 2
    assert "port 29500 is taken" in capsys.readouterr().err


@pytest.mark.parametrize("shell", ["bash", "zsh", "tcsh"])
def test_completion_knows_every_command_and_its_options(door, capsys, shell):
    pytest.importorskip("shtab")
    assert door(["--print-completion", shell]) == 0
    script = capsys.readouterr().out
    for word in COMMANDS:
        assert word in script
    assert "no-validate" in script


def test_completion_without_shtab_says_how_to_get_it(door, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "shtab", None)
    assert said(door, capsys, "--print-completion", "bash") == (
        2,
        "error: --print-completion needs shtab: pip install shtab\n",
    )


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr(xmoco, "find_spec", lambda name: None)
    with pytest.raises(ModuleNotFoundError, match="No module named 'xmoco_plugin'"):
        xmoco.door()


def test_the_door_is_loaded_once_however_often_it_is_opened():
    loads = [run_path(str(CLI / "door.py"))["load"]("options") for _ in range(2)]
    assert loads[0] is loads[1]
    assert util.find_spec("xmoco_cli_options") is not None
