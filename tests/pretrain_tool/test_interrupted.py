# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/pretrain.py and its training, stopped or killed."""

import contextlib
import os
import shutil
import signal
import threading
import time

import pytest

from xmoco_plugin.cli import exits
from xmoco_plugin.pretraining import run_lock

from ..tool_modules import run_tool
from .command import EPOCHS, FAST, fake_training


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)], ids=["Ctrl-C", "SIGTERM"]
)
def test_an_interrupted_start_takes_its_training_with_it(
    tool, monkeypatch, tmp_path, capsys, number, status
):
    monkeypatch.setattr(run_lock, "PATIENCE", 30)
    ready = tmp_path / "ready"
    body = f"open({str(ready)!r}, 'w')\ntime.sleep(600)\n"
    monkeypatch.setattr(tool.processes, "DOOR", fake_training(tmp_path / "tools", body))

    def interrupt():
        while not ready.is_file():
            time.sleep(0.05)
        os.kill(os.getpid(), number)

    def main():
        with tool.own.RunLock(tmp_path / "run") as lock:
            threading.Thread(target=interrupt).start()
            tool.train(tmp_path / "run", EPOCHS, 1, lock)

    # A shell's background job, which these tests may be, has Ctrl-C ignored.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        assert exits.run(main) == status
    finally:
        signal.signal(signal.SIGINT, before)
    assert "Traceback" not in capsys.readouterr().err
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL
    with tool.own.RunLock(tmp_path / "run"):  # refused if the training lived
        pass


def test_a_training_is_told_when_to_write_a_checkpoint(tool, monkeypatch, tmp_path):
    told = tmp_path / "told"
    body = (
        "import signal\n"
        "def ask(*_):\n"
        f"    open({str(told)!r}, 'w').close()\n"
        "    os._exit(0)\n"
        "signal.signal(signal.SIGUSR1, ask)\n"
        "os.kill(os.getppid(), signal.SIGUSR1)\n"
        "time.sleep(60)\n"
    )
    monkeypatch.setattr(tool.processes, "DOOR", fake_training(tmp_path / "tools", body))
    before = signal.getsignal(signal.SIGUSR1)
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)  # as the door has it until then
    try:
        with tool.own.RunLock(tmp_path / "run") as lock:
            assert tool.train(tmp_path / "run", EPOCHS, 1, lock) == 0
    finally:
        signal.signal(signal.SIGUSR1, before)
    assert told.exists()


def test_sigterm_ends_a_forked_worker_as_ever(capfd):
    def main():
        child = os.fork()
        if not child:
            with contextlib.suppress(BaseException):  # were it raised there, the worker went on
                time.sleep(60)
            os._exit(7)
        time.sleep(0.2)
        os.kill(child, signal.SIGTERM)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGTERM

    assert exits.run(main) == 0
    assert capfd.readouterr().err == ""


def test_a_training_that_was_killed_is_said_and_is_no_success(
    finished, data, tool, monkeypatch, tmp_path, capsys, no_report
):
    out, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    (copy / ".backbone.pth.12345.tmp").write_bytes(b"x" * 2_000_000)
    (copy / f"epoch_{EPOCHS}.pth").unlink()
    (copy / "last_checkpoint").write_text(str(copy / f"epoch_{EPOCHS - 1}.pth"))
    body = "os.kill(os.getpid(), 9)\n"
    monkeypatch.setattr(tool.processes, "DOOR", fake_training(tmp_path / "tools", body))
    same = ("--data", data / "images", "--out", copy, "--labels", data / "labels", *FAST)
    with pytest.raises(SystemExit) as ended:
        run_tool(tool, monkeypatch, *same)
    assert ended.value.code == 137
    said = capsys.readouterr().err
    assert "the training was killed (SIGKILL)" in said
    assert "The run is not done: the same command goes on" in said
    assert "removed 1 half-written files of a start that was killed, 2.0 MB" in said
    assert not list(copy.glob(".*.tmp"))


def test_options_of_the_training_go_on_to_it(
    finished, data, tool, monkeypatch, tmp_path, no_report
):
    out, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    (copy / f"epoch_{EPOCHS}.pth").unlink()
    (copy / "last_checkpoint").write_text(str(copy / f"epoch_{EPOCHS - 1}.pth"))
    body = f"open({str(tmp_path / 'words')!r}, 'w').write(' '.join(sys.argv))\nsys.exit(3)\n"
    monkeypatch.setattr(tool.processes, "DOOR", fake_training(tmp_path / "tools", body))
    same = ("--data", data / "images", "--out", copy, "--labels", data / "labels", *FAST)
    words = ("--on-nan", "retry", "--verbose", "--checkpoint-minutes", 7.5)
    with pytest.raises(SystemExit):
        run_tool(tool, monkeypatch, *same, *words)
    said = (tmp_path / "words").read_text()
    assert said.endswith(" --verbose --on-nan retry --checkpoint-minutes 7.5")
