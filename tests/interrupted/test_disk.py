# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A disk that is full, read-only or another user's: one sentence, and what stood stands."""

import errno
import logging
import os
import subprocess
import tempfile
from pathlib import Path

import pytest
from mmengine.logging import MMLogger

from xmoco_plugin.checkpoint import NotWrittenError
from xmoco_plugin.cli.spared_logs import SparedBackend, spare_logs
from xmoco_plugin.cli.user_errors import user_message
from xmoco_plugin.hooks import spared
from xmoco_plugin.json_lines import append_json_line, read_json_lines
from xmoco_plugin.pretraining import PretrainError, RunLock, remove_temporary
from xmoco_plugin.teachers import stored
from xmoco_plugin.untrusted import last_checkpoint
from xmoco_plugin.visualization import JsonLinesVisBackend
from xmoco_plugin.weights.whole import fault

from .. import tiny_runner
from ..tool_modules import import_tool, run_tool
from ..tools_config import draw

NOBODY = 65534


@pytest.fixture
def small_disk(tmp_path):
    """Mounts a disk of so many bytes; root's alone."""
    folder, made = tmp_path / "disk", []

    def mount(size: str) -> Path:
        folder.mkdir()
        words = ["mount", "-t", "tmpfs", "-o", f"size={size}", "none", str(folder)]
        if os.name != "posix" or os.geteuid() or subprocess.run(words, check=False).returncode:
            pytest.skip("no disk can be mounted here")
        made.append(folder)
        return folder

    yield mount
    for disk in made:
        subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_training_on_a_disk_that_fills_up_ends_with_status_2_and_its_last_checkpoint_whole(
    small_disk, tmp_path, monkeypatch, capsys
):
    (tmp_path / "data").mkdir()
    run, config = small_disk("900k") / "run", draw(tmp_path / "data")
    images = tmp_path / "data" / "images"
    words = (config, "--data-root", images, "--work-dir", run)
    assert run_tool(import_tool("train"), monkeypatch, *words) == 2
    said = capsys.readouterr().err
    assert said.count("error: ") == 1
    assert "epoch_2.pth cannot be written: the disk is full (0.00 GB free)" in said
    assert "Traceback" not in said
    assert last_checkpoint(run) == run / "epoch_1.pth"
    assert fault(run / "epoch_1.pth") is None
    assert [file.name for file in run.glob("*.pth")] == ["epoch_1.pth"]
    assert [file.name for file in run.iterdir() if file.name.startswith(".")] == []


def test_a_line_that_a_full_disk_cuts_is_taken_back(small_disk):
    file = small_disk("8k") / "lines.jsonl"

    def fill():
        for number in range(1000):
            append_json_line({"number": number, "text": "x" * 500}, file)

    with pytest.raises(OSError, match="No space left"):
        fill()
    lines, broken = read_json_lines(file)
    assert broken == 0
    assert [line["number"] for line in lines] == [*range(len(lines))]
    assert file.read_bytes().endswith(b"\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no device that is always full")
def test_logs_that_cannot_be_written_are_said_once_and_the_run_goes_on(tmp_path, capsys):
    runner = tiny_runner.build(tmp_path)
    file = logging.FileHandler("/dev/full")
    runner.logger.addHandler(file)
    backends = runner.visualizer._vis_backends
    backends["full"] = JsonLinesVisBackend(path="/dev/full")
    backends["full"]._init_env = lambda: None
    spare_logs(runner)
    try:
        runner.train()
    finally:
        runner.logger.removeHandler(file)
    said = "".join(capsys.readouterr())
    assert said.count("/dev/full cannot be written: the disk is full") == 2  # the file, the backend
    assert said.count("The run goes on without") == 2
    assert "Traceback" not in said
    assert (tmp_path / "epoch_2.pth").is_file()


def test_a_figure_that_cannot_be_written_is_said_once(tmp_path, capsys):
    class Fake:
        logger = MMLogger.get_instance("spared")

    hook = spared.Spared()
    for _ in range(2):
        with hook(Fake, "summary.png"):
            raise OSError(errno.EDQUOT, "Disk quota exceeded")
    assert "".join(capsys.readouterr()).count("your quota of the disk is used up") == 1
    with pytest.raises(ZeroDivisionError), hook(Fake, "summary.png"):
        1 / 0  # noqa: B018


def test_a_fault_of_a_backend_is_no_disk(tmp_path):
    class Broken:
        def add_scalar(self, *_):
            raise ValueError("a fault")

    with pytest.raises(ValueError, match="a fault"):
        SparedBackend(Broken(), MMLogger.get_instance("spared")).add_scalar("x", 1)


@pytest.fixture
def open_path():
    """A folder that others may look into, as none of pytest's is."""
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        yield Path(folder)


@pytest.mark.skipif(not hasattr(os, "seteuid") or os.geteuid() != 0, reason="needs another user")
def test_a_run_folder_of_another_user_is_refused_with_a_sentence(open_path, monkeypatch, capsys):
    closed, run = open_path / "closed", open_path / "run"
    closed.mkdir(mode=0o700)
    run.mkdir()
    (run / ".pretrain.lock").touch(mode=0o600)
    (open_path / "images").mkdir()
    tool, words = import_tool("pretrain"), ("--data", open_path / "images", "--out")
    # Once before: the other user may not be let into the folder that modules are imported from.
    assert run_tool(tool, monkeypatch, *words, open_path / "empty") == 2
    os.seteuid(NOBODY)
    try:
        with pytest.raises(PretrainError, match=r"another user's, or read-only"):
            RunLock(run)
        assert run_tool(tool, monkeypatch, *words, closed / "run") == 2
        with pytest.raises(PermissionError) as error:
            os.mkdir(run / "new")
    finally:
        os.seteuid(0)
    assert "closed/run: no permission to look there" in capsys.readouterr().err
    assert user_message(error.value) == (
        f"{run / 'new'}: no permission. It is another user's: name another place."
    )


def test_a_read_only_disk_and_one_that_nobody_can_name_are_sentences():
    read_only = OSError(errno.EROFS, "Read-only file system", "/mnt/run/epoch_1.pth")
    assert user_message(read_only) == (
        "/mnt/run/epoch_1.pth cannot be written: the file system is read-only. Name a folder on "
        "another one."
    )
    full = OSError(errno.ENOSPC, "No space left on device")
    assert user_message(full).startswith("a file cannot be written: the disk is full. Make room")


def test_the_room_of_teacher_features_is_taken_at_once_not_found_missing_by_a_sigbus(
    small_disk, monkeypatch
):
    monkeypatch.setattr(stored, "_ask_disk", lambda *_: None)  # as where others fill it later
    file = small_disk("64k") / "teacher_features.bin"
    belongs = stored.Belongs(1000, 64, teacher="t", name="n", size=64, data="d")
    with pytest.raises(NotWrittenError, match="the disk is full"):
        stored.StoredFeatures(file, belongs)
    assert list(file.parent.iterdir()) == []


def test_half_files_that_nobody_writes_any_more_go_and_fresh_ones_stay(tmp_path, capsys):
    for name in (".epoch_1.pth.123.tmp", ".epoch_2.pth.456.tmp"):
        (tmp_path / name).write_bytes(b"x" * 1000)
    (tmp_path / ".last_checkpoint.ab12.123.tmp").mkdir()
    (tmp_path / "epoch_1.pth").touch()
    for name in (".epoch_1.pth.123.tmp", ".last_checkpoint.ab12.123.tmp", "epoch_1.pth"):
        os.utime(tmp_path / name, (1, 1))
    remove_temporary(tmp_path, older=600)
    assert {file.name for file in tmp_path.iterdir()} == {".epoch_2.pth.456.tmp", "epoch_1.pth"}
    assert "removed 2 half-written files" in capsys.readouterr().err
