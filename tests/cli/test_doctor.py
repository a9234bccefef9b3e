# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""xmoco doctor: what is right, what must be mended, and by what."""

import argparse
import subprocess
import sys

import pytest

from xmoco_plugin.cli import doctor
from xmoco_plugin.cli.doctor import GB, Line

from ..tool_modules import ROOT


@pytest.mark.parametrize(
    ("line", "state", "words"),
    [
        (doctor.judge_python((3, 12, 1), "p"), "ok", "3.12.1, p"),
        (doctor.judge_python((3, 13, 0), "p"), "MEND", "python3.12 -m venv"),
        (doctor.judge_python((3, 9, 9), "p"), "MEND", "tested on 3.10 to 3.12"),
        (doctor.judge_cores(2, 2, None), "ok", "2"),
        (doctor.judge_cores(2, 64, None), "note", "export OMP_NUM_THREADS=2"),
        (doctor.judge_cores(2, 64, "2"), "ok", "2 of 64 may be used; OMP_NUM_THREADS=2"),
        (doctor.judge_cores(2, 64, "8"), "MEND", "export OMP_NUM_THREADS=2"),
        (doctor.judge_cores(4, 4, "4,1"), "ok", "OMP_NUM_THREADS=4"),
        (doctor.judge_cores(4, 4, "many"), "MEND", "OMP_NUM_THREADS=many is no number"),
        (doctor.judge_waiting(None), "note", "export OMP_WAIT_POLICY=PASSIVE"),
        (doctor.judge_waiting("passive"), "ok", "leave their core"),
        (doctor.judge_waiting("ACTIVE"), "note", "spin"),
        (doctor.judge_waiting("lazy"), "MEND", "export OMP_WAIT_POLICY=PASSIVE"),
        (doctor.judge_gpu([("H", 80 * GB)], "12.8", True), "ok", "H, 80 GB: used for training"),
        (doctor.judge_gpu([("H", 80 * GB)] * 2, "12.8", True), "ok", "--gpus N takes several"),
        (doctor.judge_gpu([], None, False), "note", "everything runs on the CPU"),
        (doctor.judge_gpu([], None, True), "MEND", "pytorch.org"),
        (doctor.judge_gpu([], "12.8", True), "MEND", "CUDA_VISIBLE_DEVICES"),
        (doctor.judge_space("shared", 64 * 10**6, doctor.LEAST_SHARED, "m"), "MEND", "0.1 GB free"),
        (doctor.judge_space("disk", 3 * GB, doctor.LEAST_DISK, "m"), "ok", "3.0 GB free"),
    ],
)
def test_a_line_is_right_or_names_what_mends_it(line, state, words):
    assert line.state == state
    assert words in str(line)
    assert bool(line.mend) or state != "MEND"


@pytest.mark.parametrize(("states", "status"), [(["ok", "note"], 0), (["MEND", "ok"], 1)])
def test_the_exit_status_is_1_where_something_must_be_mended(monkeypatch, capsys, states, status):
    lines = [Line(state, "x", "y") for state in states]
    monkeypatch.setattr(doctor, "LOOKS", (lambda: iter(lines),))
    assert doctor.main(argparse.Namespace()) == status
    assert ("to mend" in capsys.readouterr().out) == bool(status)


def test_this_environment_is_looked_at_without_a_fault(monkeypatch, capsys):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    doctor.main(argparse.Namespace())
    printed = capsys.readouterr().out
    topics = {line.split()[1] for line in printed.splitlines() if line[0] != " " and line[0] != "1"}
    assert {"Python", "cores", "waiting", "memory", "disk", "stack", "ops", "GPU"} <= topics
    [stack] = [line for line in printed.splitlines() if " stack " in line]
    assert stack.startswith("ok")
    assert "mmpretrain 1." in stack
    assert "torch 2." in stack


def test_ops_that_cannot_be_loaded_are_told_from_ops_that_are_absent(monkeypatch):
    spec = doctor.importlib.util.find_spec("mmcv")

    def lines(there: bool, error: Exception | None) -> list[Line]:
        def find(name):
            return spec if name == "mmcv" or there else None

        def load(name):
            if error is not None:
                raise error

        monkeypatch.setattr(doctor.importlib.util, "find_spec", find)
        monkeypatch.setattr(doctor.importlib, "import_module", load)
        return list(doctor.look_at_fine_tuning())

    assert lines(False, None)[0].state == "note"
    assert lines(True, None)[0].state == "ok"
    broken = lines(True, ImportError("undefined symbol: _ZN3c10\nmore"))[0]
    assert (broken.state, "undefined symbol: _ZN3c10" in broken.finding) == ("MEND", True)


def test_it_runs_where_there_is_no_stack_and_says_what_to_install(tmp_path):
    done = subprocess.run(
        [sys.executable, "-S", "-E", str(ROOT / "xmoco.py"), "doctor"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 1, done.stderr
    assert "MEND  stack        torch: not installed" in done.stdout
    assert "-> pip install 'torch>=" in done.stdout
    assert done.stderr == ""
