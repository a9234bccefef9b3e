# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Errors of tools/train.py and test.py that a user can mend."""

import os
from pathlib import Path

import pytest
import torch

from .command import run_train


def test_a_missing_data_root_ends_with_one_message_and_the_way_out(
    tools, monkeypatch, capsys, config, tmp_path
):
    monkeypatch.chdir(tmp_path)
    status, said = run_train(tools, monkeypatch, capsys, config, "--data-root", "no/such")
    assert status == 2
    assert "Traceback" not in said
    message = said[said.index("error: ") :]
    assert "data_root='no/such'" in message
    assert str(tmp_path) in message
    assert "--data-root FOLDER" in message
    assert not (tmp_path / "work_dirs").exists()


def test_a_missing_ann_file_is_named(tools, monkeypatch, capsys, config, images):
    option = "train_dataloader.dataset.ann_file=list.txt"
    status, message = run_train(
        tools, monkeypatch, capsys, config, "--data-root", images, "--cfg-options", option
    )
    assert status == 2
    assert f"ann_file='list.txt' names {images / 'list.txt'}" in message


@pytest.mark.parametrize("ending", ["pkl", "yaml"])
def test_an_ann_file_that_the_host_would_run_is_refused(
    tools, monkeypatch, capsys, config, images, tmp_path, ending
):
    mark = tmp_path / "mark"
    content = {
        "pkl": f"cos\nmkdir\n(V{mark}\ntR.",
        "yaml": f"!!python/object/apply:os.mkdir ['{mark}']\n",
    }
    (images / f"list.{ending}").write_text(content[ending])
    options = [f"train_dataloader.dataset.{o}" for o in (f"ann_file=list.{ending}", "type=VSR")]
    status, message = run_train(
        tools, monkeypatch, capsys, config, "--data-root", images, "--cfg-options", *options
    )
    assert status == 2
    assert f"dataset.ann_file='list.{ending}': the host would run" in message
    assert not mark.exists()


@pytest.mark.timeout(120)
def test_an_ann_file_that_is_a_pipe_is_named(tools, monkeypatch, capsys, config, images):
    os.mkfifo(images / "list.txt")
    option = "train_dataloader.dataset.ann_file=list.txt"
    status, message = run_train(
        tools, monkeypatch, capsys, config, "--data-root", images, "--cfg-options", option
    )
    assert status == 2
    assert "list.txt: not a regular file: a named pipe" in message


def test_a_missing_config_is_named(tools, monkeypatch, capsys):
    status, message = run_train(tools, monkeypatch, capsys, "configs/nothing.py")
    assert status == 2
    assert "'configs/nothing.py'" in message


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_checkpoint_that_cannot_be_read_ends_with_one_message(
    tools, monkeypatch, capsys, config, images, tmp_path, content
):
    checkpoint = tmp_path / "epoch_1.pth"
    if content is not None:
        checkpoint.write_bytes(content)
    status, message = run_train(
        tools, monkeypatch, capsys, config, "--data-root", images, "--resume", checkpoint
    )
    assert status == 2
    assert str(checkpoint) in message


class Opened:
    """An object whose unpickling runs code: it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_checkpoint_does_not_run_on_auto_resume(
    tools, monkeypatch, capsys, config, images, tmp_path
):
    work = tmp_path / "work"
    work.mkdir()
    torch.save({"state_dict": {}, "meta": Opened(tmp_path / "ran")}, work / "epoch_1.pth")
    (work / "last_checkpoint").write_text(str(work / "epoch_1.pth"))
    options = ["--data-root", images, "--work-dir", work, "--resume"]
    status, message = run_train(tools, monkeypatch, capsys, config, *options)
    assert status == 2
    assert "needs code to be read" in message
    assert not (tmp_path / "ran").exists()


def test_an_error_of_ours_inside_the_host_is_still_one_message(
    tools, monkeypatch, capsys, config, images
):
    status, message = run_train(
        tools, monkeypatch, capsys, config, "--data-root", images,
        "--cfg-options", "model.head.consistency.target=nonsense",
    )  # fmt: skip
    assert status == 2
    assert "nonsense" in message


def test_a_misspelt_setting_is_named_without_a_traceback(
    tools, monkeypatch, capsys, config, images
):
    for option, message in (
        (
            "model.head.consistency.loss_wieght=2",
            "CrossConsistencyLoss has no setting 'loss_wieght'",
        ),
        ("model.backbone.dpth=18", "ResNet has no setting 'dpth'"),
    ):
        status, printed = run_train(
            tools, monkeypatch, capsys, config, "--data-root", images, "--cfg-options", option
        )
        assert status == 2
        assert message in printed


def test_an_error_of_the_hosts_keeps_its_traceback(tools, monkeypatch, capsys, config, images):
    with pytest.raises(KeyError, match="NoSuchModel"):
        run_train(
            tools, monkeypatch, capsys, config, "--data-root", images,
            "--cfg-options", "model.type=NoSuchModel",
        )  # fmt: skip
