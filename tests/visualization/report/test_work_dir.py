# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
import time

import pytest

from xmoco_plugin.visualization.report import WorkDir
from xmoco_plugin.visualization.report.verdicts import Verdict

from ... import tiny_runner
from .made_runs import health, step, write_lines, write_scalars


def test_a_folder_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no folder .*nothing"):
        WorkDir.read(tmp_path / "nothing")


def test_a_folder_of_something_else_is_refused(tmp_path):
    (tmp_path / "notes.txt").write_text("hello")
    with pytest.raises(ValueError, match="is no work dir of a training"):
        WorkDir.read(tmp_path)


def test_a_cut_off_last_line_is_left_out_and_said(tmp_path):
    write_scalars(tmp_path, "20260101_000000", [step(1, 5.0), step(2, 4.0)])
    file = tmp_path / "20260101_000000" / "vis_data" / "scalars.json"
    file.write_text(file.read_text()[:-20])
    write_lines(tmp_path / "health.jsonl", [health(1), health(2)])
    (tmp_path / "health.jsonl").write_text((tmp_path / "health.jsonl").read_text()[:-20])
    run = WorkDir.read(tmp_path)
    assert run.train["loss"] == [(1, 5.0)]
    assert [entry["epoch"] for entry in run.health] == [1]
    assert "1 cut-off line(s) of scalars.json were left out." in run.missing
    assert "1 cut-off line(s) of health.jsonl were left out." in run.missing


def test_a_resumed_run_goes_on_where_it_was_resumed(tmp_path):
    write_scalars(tmp_path, "20260101_000000", [step(i, 10.0 - i) for i in range(1, 9)])
    # Resumed from epoch 1: iterations 5 to 8 are done anew.
    write_scalars(tmp_path, "20260102_000000", [step(i, 1.0) for i in (5, 6)])
    values = dict(WorkDir.read(tmp_path).train["loss"])
    assert values == {1: 9.0, 2: 8.0, 3: 7.0, 4: 6.0, 5: 1.0, 6: 1.0}


def test_a_run_started_afresh_in_an_old_folder_replaces_the_old(tmp_path):
    write_scalars(tmp_path, "20260101_000000", [step(i, 10.0) for i in range(1, 9)])
    write_scalars(tmp_path, "20260102_000000", [step(1, 2.0)])
    assert WorkDir.read(tmp_path).train["loss"] == [(1, 2.0)]


@pytest.mark.parametrize("resume", [False, True])
def test_checkpoints_of_a_run_before_it_in_the_folder_are_left_out(tmp_path, resume):
    tiny_runner.build(tmp_path).train()
    for file in tmp_path.glob("*.pth"):  # starts are told apart by the second
        os.utime(file, (time.time() - 60,) * 2)
    epochs = dict(by_epoch=True, max_epochs=3 if resume else 1)
    tiny_runner.build(tmp_path, train_cfg=epochs, resume=resume).train()
    run = WorkDir.read(tmp_path)
    assert list(run.checkpoints) == ([1, 2, 3] if resume else [1])
    assert any(line.startswith("epoch_2.pth: of an earlier run") for line in run.missing) != resume


def test_validations_are_told_from_training_and_keep_their_epochs(tmp_path):
    entries = [{"accuracy/top1": 20.0, "time": 1.0, "step": 0}, step(4, 5.0)]
    write_scalars(tmp_path, "20260101_000000", [*entries, {"accuracy/top1": 30.0, "step": 1}])
    run = WorkDir.read(tmp_path)
    assert run.metrics == {"accuracy/top1": [(0, 20.0), (1, 30.0)]}
    assert set(run.train) == {"loss", "lr"}


def test_iterations_become_epochs_by_the_length_that_the_log_states(tmp_path):
    write_scalars(tmp_path, "20260101_000000", [step(186, 5.0)])
    log = tmp_path / "20260101_000000" / "20260101_000000.log"
    log.write_text("mmengine - INFO - Epoch(train)   [2][31/93]  lr: 0.1\n")
    run = WorkDir.read(tmp_path)
    assert (run.x(186), run.unit) == (2.0, "epoch")


def test_without_a_log_the_length_of_an_epoch_is_seen_in_the_values(tmp_path):
    write_scalars(tmp_path, "20260101_000000", [step(30, 5.0, 31), step(61, 4.0, 31)])
    run = WorkDir.read(tmp_path)
    assert (run.epoch_length, run.unit) == (30, "epoch")
    assert run.x(60) == 2


def test_training_counted_in_iterations_keeps_them(tmp_path):
    entry = {key: value for key, value in step(186, 5.0).items() if key != "epoch"}
    write_scalars(tmp_path, "20260101_000000", [entry])
    run = WorkDir.read(tmp_path)
    assert (run.x(186), run.unit) == (186, "iteration")


def test_checkpoints_are_ordered_by_number_and_plain_names_win(tmp_path):
    for name in ("epoch_10.pth", "epoch_9.pth", "best_accuracy_top1_epoch_9.pth", "other.pth"):
        (tmp_path / name).touch()
    run = WorkDir.read(tmp_path)
    assert {n: file.name for n, file in run.checkpoints.items()} == {
        9: "epoch_9.pth",
        10: "epoch_10.pth",
    }
    assert run.last is not None
    assert run.last.name == "epoch_10.pth"


def test_the_environment_is_that_of_the_log(finished, tmp_path):
    write_scalars(tmp_path, "20260101_000000", [step(1, 5.0)])
    log = tmp_path / "20260101_000000" / "20260101_000000.log"
    dashes = "-" * 60
    log.write_text(
        f"INFO -\n{dashes}\nSystem environment:\n    Python: 3.11.7\n    PyTorch: 2.11.0\n"
        f"    PyTorch compiling details: PyTorch built with:\n"
        f"  - GCC: 13\n\nRuntime environment:\n    seed: 0\n{dashes}\nConfig:\n    no: no\n"
    )
    environment = WorkDir.read(tmp_path).environment
    assert environment == {"Python": "3.11.7", "PyTorch": "2.11.0", "seed": "0"}


def test_a_config_that_cannot_be_read_is_named_and_the_log_copy_used(tmp_path):
    write_scalars(tmp_path, "20260101_000000", [step(1, 5.0)])
    (tmp_path / "mine.py").write_text("model = dict(")
    (tmp_path / "20260101_000000" / "vis_data" / "config.py").write_text("model = dict(type='A')")
    run = WorkDir.read(tmp_path)
    assert run.config is not None
    assert run.config.model.type == "A"
    assert any("mine.py cannot be read" in line for line in run.missing)


def test_what_is_named_like_a_config_and_is_no_file_is_passed_over(tmp_path):
    write_scalars(tmp_path, "20260101_000000", [step(1, 5.0)])
    (tmp_path / "old.py").mkdir()
    (tmp_path / "gone.py").symlink_to(tmp_path / "nowhere.py")
    (tmp_path / "mine.py").write_text("model = dict(type='A')")
    assert WorkDir.read(tmp_path).config_name == "mine.py"


@pytest.mark.parametrize("content", ["[]", "3", "null", '{"epoch": "x"}'])
def test_health_lines_without_an_epoch_are_no_health(tmp_path, content):
    (tmp_path / "epoch_1.pth").touch()
    (tmp_path / "health.jsonl").write_text(content)
    assert WorkDir.read(tmp_path).health == []


def test_verdicts_are_told_in_stretches(tmp_path):
    words = ["too early", "learning", "learning", "collapsing"]
    entries = [health(i, word) for i, word in enumerate(words, 1)]
    write_lines(tmp_path / "health.jsonl", entries)
    verdict = Verdict.of(WorkDir.read(tmp_path))
    assert (verdict.word, verdict.sign, verdict.epoch) == ("collapsing", "✗", 4)
    assert verdict.history == ("epoch 1: too early", "epochs 2–3: learning", "epoch 4: collapsing")
    assert verdict.reason == entries[-1]["reason"]


def test_what_a_run_of_pretrain_lacks_is_said_in_its_options(tmp_path):
    for name in ("own", "pretrain"):
        (tmp_path / name / "20260101_000000" / "vis_data").mkdir(parents=True)
        (tmp_path / name / "20260101_000000" / "vis_data" / "config.py").write_text("a = 1")
    (tmp_path / "pretrain" / "options.json").write_text("{}")
    said = {
        name: " ".join(WorkDir.read(tmp_path / name, name).missing) for name in ("own", "pretrain")
    }
    assert "val_cfg" in said["own"]
    assert "logger.interval" in said["own"]
    assert "--labels FOLDER" in said["pretrain"]
    assert "val_cfg" not in said["pretrain"]
    assert "logger.interval" not in said["pretrain"]
