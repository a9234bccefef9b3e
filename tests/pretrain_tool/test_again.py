# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/pretrain.py started again: it goes on, or says what is not as it was."""

import contextlib
import json
import os
import shutil
import signal
import sys
import time

import torch

from xmoco_plugin.pretraining import run_lock

from ..forked import Forked, train_in_a_fork
from ..pretraining.folder import draw
from ..tool_modules import TOOLS, run_tool, wait_for_file
from .command import EPOCHS, FAST, fake_training, refused


def test_the_same_command_again_trains_nothing_and_other_options_are_named(
    finished, data, tool, monkeypatch, capsys, no_report
):
    out, _ = finished
    before = (out / f"epoch_{EPOCHS}.pth").stat().st_mtime_ns
    same = ("--data", data / "images", "--out", out, "--labels", data / "labels", *FAST)
    assert run_tool(tool, monkeypatch, *same) == 0
    assert f"all {EPOCHS} epochs are done" in capsys.readouterr().out
    assert "--lr was None, now 0.1" in refused(tool, monkeypatch, capsys, *same, "--lr", 0.1)
    assert (out / f"epoch_{EPOCHS}.pth").stat().st_mtime_ns == before


def test_a_run_from_old_weights_starts_with_them_and_needs_their_file_no_more(
    finished, data, tmp_path, tool, monkeypatch, capsys, no_report
):
    out, _ = finished
    new, file = tmp_path / "new", tmp_path / "first.pth"
    shutil.copy(out / "backbone.pth", file)
    train_in_a_fork(tool, monkeypatch)
    arguments = ("--data", data / "images", "--out", new, "--init", file, *FAST)
    arguments += ("--lr", "1e-9", "--model", "resnet18")
    assert run_tool(tool, monkeypatch, *arguments) == 0
    file.unlink()
    assert run_tool(tool, monkeypatch, *arguments) == 0
    assert "epochs are done" in capsys.readouterr().out
    assert (new / "init.pth").is_file()
    old, moved = (
        torch.load(folder / "backbone.pth", weights_only=True)["state_dict"][
            "backbone.conv1.weight"
        ]
        for folder in (out, new)
    )
    torch.testing.assert_close(moved, old, rtol=0, atol=1e-5)


def test_images_that_came_or_went_since_are_counted(data, tmp_path, tool, monkeypatch, capsys):
    copy = tmp_path / "images"
    shutil.copytree(data / "images", copy)
    out = tmp_path / "run"
    out.mkdir()
    listed = [*sorted(copy.rglob("a/*.jpg")), copy / "lost.png"]
    (out / "files.txt").write_text("".join(f"{p}\n" for p in listed))
    (out / "config.py").write_text(CONFIG)
    (out / "options.json").write_text(json.dumps(dict(data=[str(copy)])))
    message = refused(tool, monkeypatch, capsys, "--data", copy, "--out", out)
    assert "9 new, 1 gone, 0 changed, 0 unreadable" in message
    assert "--init" in message


def test_an_image_with_other_content_is_named_and_a_touched_one_is_not(
    tmp_path, tool, monkeypatch, capsys
):
    draw(tmp_path / "data", 9)
    same = ("--data", tmp_path / "data", "--out", tmp_path / "run", *FAST)
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    assert run_tool(tool, monkeypatch, *same) == 0
    os.utime(tmp_path / "data" / "003.png", (1, 1))
    assert run_tool(tool, monkeypatch, *same) == 0
    assert "9 images as before" in capsys.readouterr().out
    draw(tmp_path / "other", 1, seed=5)
    shutil.copy(tmp_path / "other" / "000.png", tmp_path / "data" / "003.png")
    for _ in range(2):  # the scan remembers the new content; the refusal stays
        message = refused(tool, monkeypatch, capsys, *same)
        assert "0 new, 0 gone, 1 changed" in message
        assert "003.png is changed" in message


CONFIG = """
model = dict(type="XMoCo")
train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=2)
train_dataloader = dict(dataset=dict(type="ListedImages"))
"""


def test_a_second_start_is_refused_while_the_first_or_its_training_lives(
    tmp_path, tool, monkeypatch, capsys
):
    monkeypatch.setattr(run_lock, "PATIENCE", 0.5)
    draw(tmp_path / "data", 9)
    out = tmp_path / "run"
    same = ("--data", tmp_path / "data", "--out", out, *FAST)
    begun = tmp_path / "begun"
    hangs = fake_training(
        tmp_path / "tools",
        f"open('{begun}.tmp', 'w').write(str(os.getpid()))\n"
        f"os.rename('{begun}.tmp', '{begun}')\ntime.sleep(600)\n",
    )
    # The first start: it holds the folder, starts a training that hangs, and is stopped.
    first = tmp_path / "first.py"
    first.write_text(f"""
import pathlib
from xmoco_plugin.cli import pretrain
pretrain.processes.DOOR = pathlib.Path({str(hangs)!r})
out = pathlib.Path({str(out)!r})
with pretrain.own.RunLock(out) as lock:
    pretrain.train(out, 1, 1, lock)
""")
    holder = Forked([sys.executable, first])
    wait_for_file(begun, holder, 120)
    training = int(begun.read_text())
    try:
        both = f"{out} is being worked on by process {holder.pid} and process {training} on "
        assert both in refused(tool, monkeypatch, capsys, *same)
        holder.terminate()
        holder.wait()
        left = f"{out} is being worked on by process {training} on "
        assert left in refused(tool, monkeypatch, capsys, *same)
    finally:
        os.kill(training, signal.SIGKILL)
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    monkeypatch.setattr(run_lock, "PATIENCE", 30)  # until the system has buried it
    assert run_tool(tool, monkeypatch, *same) == 0
    assert (out / "config.py").is_file()


def test_the_training_holds_the_folder_too_and_is_noted(tool, monkeypatch, tmp_path):
    lock_file = tmp_path / run_lock.LOCK
    body = f"""
lock = os.stat({str(lock_file)!r})
def is_lock(name):
    try:
        return os.path.samestat(os.stat("/dev/fd/" + name), lock)
    except OSError:
        return False
assert any(map(is_lock, os.listdir("/dev/fd")))
end = time.monotonic() + 60
while f"process {{os.getpid()}} on " not in open({str(lock_file)!r}).read():
    assert time.monotonic() < end
sys.exit(7)
"""
    monkeypatch.setattr(tool.processes, "DOOR", fake_training(tmp_path / "tools", body))
    with tool.own.RunLock(tmp_path) as lock:
        assert tool.train(tmp_path, EPOCHS, 1, lock) == 7


def command_of(data, out, epochs: int) -> list:
    command = ["--data", data / "images", "--out", out, "--model", "MobileNetV2", *FAST]
    command[command.index(EPOCHS)] = epochs
    return command


def start(command: list, streams=(1, 2)) -> Forked:
    """The tool, in a session of its own with what it starts: a training that is a fresh Python."""
    env = os.environ | {"PYTHONPATH": str(TOOLS.parent), "OMP_NUM_THREADS": "1"}
    program = [sys.executable, TOOLS / "pretrain.py", *command]
    return Forked(program, env, start_new_session=True, streams=streams)


def test_ctrl_c_ends_both_processes_with_one_line_and_without_a_traceback(data, tmp_path):
    out = tmp_path / "run"
    files = [tmp_path / "printed", tmp_path / "said"]
    with open(files[0], "w") as first, open(files[1], "w") as second:
        process = start(command_of(data, out, 500), (first.fileno(), second.fileno()))
    try:
        wait_for_file(out / "last_checkpoint", process, 300)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all that it started
        assert process.wait(60) == 130
        printed, said = (file.read_text() for file in files)
        assert "Traceback" not in printed + said
        assert said.splitlines()[-1] == "stopped; the same command goes on"
        assert (printed + said).count("stopped") == 1
        with run_lock.RunLock(out):  # refused if the training lived
            pass
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)


def test_a_killed_run_goes_on_with_the_same_command(
    data, tmp_path, tool, monkeypatch, capfd, no_report
):
    out = tmp_path / "run"
    command = command_of(data, out, 5)
    process = start(command)
    end = time.monotonic() + 900
    while not (out / "epoch_3.pth").is_file() and time.monotonic() < end:
        time.sleep(0.2)
        assert process.poll() is None
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    capfd.readouterr()
    # What a machine that went down leaves: a checkpoint that is cut off, and nothing noted.
    newest = max(out.glob("epoch_*.pth"), key=lambda file: int(file.stem.split("_")[1]))
    os.truncate(newest, newest.stat().st_size // 2)
    (out / "last_checkpoint").write_text("")
    train_in_a_fork(tool, monkeypatch)
    assert run_tool(tool, monkeypatch, *command) == 0
    printed = capfd.readouterr()
    assert "going on with" in printed.out
    assert "resumed" in (printed.out + printed.err).lower()
    assert f"{newest.name} is cut off" in printed.err
    assert newest.with_name(f"{newest.name}.broken").is_file()
    lines = [json.loads(line) for line in (out / "health.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == list(range(1, 6))


def test_a_refused_start_can_be_mended(tool, monkeypatch, capsys, tmp_path):
    draw(tmp_path / "data", 3)
    arguments = ("--data", tmp_path / "data", "--out", tmp_path / "run")
    assert "3 readable images" in refused(tool, monkeypatch, capsys, *arguments)
    draw(tmp_path / "data", 9)
    message = refused(tool, monkeypatch, capsys, *arguments, *FAST, "--queue-len", 10)
    assert "--queue-len 10" in message
    monkeypatch.setattr(tool, "train", lambda *_: 0)
    assert run_tool(tool, monkeypatch, *arguments, *FAST, "--queue-len", 8) == 0
    assert "queue_len=8" in (tmp_path / "run" / "config.py").read_text()
    assert "--queue-len was 8, now 4" in refused(
        *(tool, monkeypatch, capsys, *arguments, *FAST, "--queue-len", 4)
    )


def test_a_run_killed_after_its_last_checkpoint_makes_the_end_once_more(
    finished, tool, monkeypatch, tmp_path
):
    out, _ = finished
    copy = tmp_path / "copy"
    shutil.copytree(out, copy)
    lines = (copy / "health.jsonl").read_text().splitlines()
    (copy / "health.jsonl").write_text("\n".join(lines[:-1]) + "\n")
    said = tmp_path / "said"
    body = f"open({str(said)!r}, 'a').write(' '.join(sys.argv[1:]) + '\\n')\n"
    monkeypatch.setattr(tool.processes, "DOOR", fake_training(tmp_path / "tools", body))
    older = copy / f"epoch_{EPOCHS - 1}.pth"
    expected = f"train {copy / 'config.py'} --resume {older} --config-as-data\n"
    with tool.own.RunLock(copy) as lock:
        assert tool.train(copy, EPOCHS, 1, lock) == 0
        assert said.read_text() == expected
        (copy / "health.jsonl").write_text("\n".join(lines) + "\n")
        assert tool.train(copy, EPOCHS, 1, lock) == 0
    assert said.read_text() == expected
