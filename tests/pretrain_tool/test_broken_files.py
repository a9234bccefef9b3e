# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/pretrain.py in the folder of a run with one broken file: it goes on, or says what to do."""

import os
import shutil

import pytest

from ..broken import CONTENTS, NO_FILES, put
from ..format_once import leave_unformatted
from ..tool_modules import run_tool
from .command import EPOCHS, FAST

FILES = (
    *("last_checkpoint", "options.json", "config.py", "files.txt", "digests.txt", "scan.jsonl"),
    *("health.jsonl", "opening.txt", "summary.json", "metrics.jsonl", f"epoch_{EPOCHS}.pth"),
    *(".pretrain.lock", "backbone.pth"),
)
# Read only by the training, or made anew: a run goes on without.
NEEDLESS = {"scan.jsonl", "opening.txt", "summary.json", "metrics.jsonl", "health.jsonl"}
NEEDLESS |= {".pretrain.lock", "digests.txt", "backbone.pth"}
# Passed over with a warning: the run goes on from the newest whole checkpoint.
PASSED_OVER = {"last_checkpoint", f"epoch_{EPOCHS}.pth"}


def copied_or_linked(source: str, target: str) -> None:
    """Weights, which nobody writes into: whoever changes them puts another file in their place."""
    (os.link if source.endswith(".pth") else shutil.copy2)(source, target)


@pytest.fixture
def copy(finished, tmp_path, tool, monkeypatch, no_report):
    """What going on reads of the run; nothing trains and nothing is reported."""
    out, _ = finished
    folder = tmp_path / "run"
    folder.mkdir()
    for file in out.iterdir():
        if file.is_file() and file.suffix not in (".html", ".png", ".safetensors"):
            os.link(file, folder / file.name)
    for name in FILES:  # which a test may write to
        if (folder / name).exists():
            (folder / name).unlink()
            shutil.copy(out / name, folder / name)
    door = tmp_path / "door.py"
    door.write_text("print('trains')\n")
    monkeypatch.setattr(tool.processes, "DOOR", door)
    leave_unformatted(monkeypatch)
    return folder


@pytest.mark.parametrize("name", FILES)
def test_going_on_is_refused_in_a_sentence_or_works(
    copy, data, tool, monkeypatch, capsys, name, tmp_path
):
    same = ("--data", data / "images", "--labels", data / "labels", *FAST)
    kept = tmp_path / "kept"
    copy.rename(kept)
    for kind in CONTENTS:
        folder = tmp_path / "run"
        shutil.copytree(kept, folder, copy_function=copied_or_linked)
        put(kind, folder / name)
        status = run_tool(tool, monkeypatch, *same, "--out", folder)
        printed = capsys.readouterr()
        case = f"{name}, {kind}: {status}\n{printed.out[-500:]}\n{printed.err[-1500:]}"
        assert "Traceback" not in printed.out + printed.err, case
        assert status in (0, 2), case
        if status:
            error = printed.err[printed.err.index("error: ") :].strip()
            other = "the images are others" in error or "with other options" in error
            assert name in error or other, case
            assert len(error.splitlines()) == 1, case
            assert len(error) < 1500, case
            assert name not in PASSED_OVER or kind in NO_FILES, case
        elif name in PASSED_OVER:
            assert any(
                line.startswith("warning: ") and name in line and "going on from epoch_" in line
                for line in printed.err.splitlines()
            ), case
        elif kind in NO_FILES:  # emptied, or read as far as its limit
            assert kind == "sparse", case
            assert name in NEEDLESS, case
        else:
            assert name in NEEDLESS or kind == "empty", case
        shutil.rmtree(folder)


@pytest.mark.parametrize("name", [".pretrain.lock", "scan.jsonl", "health.jsonl"])
def test_nothing_is_written_through_a_link(copy, data, tool, monkeypatch, capsys, name, tmp_path):
    precious = tmp_path / "precious"
    precious.write_text("of somebody\n")
    (copy / name).unlink(missing_ok=True)
    (copy / name).symlink_to(precious)
    same = ("--data", data / "images", "--labels", data / "labels", *FAST, "--out", copy)
    assert run_tool(tool, monkeypatch, *same) == 2
    assert name in capsys.readouterr().err
    assert precious.read_text() == "of somebody\n"
