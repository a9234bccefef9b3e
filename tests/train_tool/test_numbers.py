# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Numbers that no training can have: one sentence before it begins."""

import pytest

from .command import run_train


@pytest.mark.parametrize(
    ("option", "said"),
    [
        ("optim_wrapper.optimizer.lr=nan", "optim_wrapper.optimizer.lr is nan"),
        ("optim_wrapper.optimizer.lr=inf", "optim_wrapper.optimizer.lr is inf"),
        ("optim_wrapper.optimizer.lr=-1", "optim_wrapper.optimizer.lr is -1"),
        ("optim_wrapper.optimizer.weight_decay=nan", "weight_decay is nan"),
        ("train_cfg.max_epochs=0", "train_cfg.max_epochs is 0"),
        ("train_cfg.max_epochs=-1", "train_cfg.max_epochs is -1"),
        ("train_cfg.max_epochs=1.5", "train_cfg.max_epochs is 1.5"),
        ("train_dataloader.batch_size=0", "train_dataloader.batch_size is 0"),
        ("train_dataloader.num_workers=-1", "train_dataloader.num_workers is -1"),
    ],
)
def test_it_is_named_and_nothing_is_built(
    tools, monkeypatch, capsys, config, images, tmp_path, option, said
):
    status, message = run_train(
        *(tools, monkeypatch, capsys, config, "--data-root", images),
        *("--work-dir", tmp_path / "work", "--cfg-options", option),
    )
    assert status == 2
    error = message[message.index("error: ") :].strip()
    assert said in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("pointer", ["/elsewhere/epoch_1.pth", "", "\\0"])
def test_resume_looks_into_the_work_dir_alone(
    tools, monkeypatch, capsys, config, images, tmp_path, pointer
):
    work = tmp_path / "work"
    work.mkdir()
    (work / "last_checkpoint").write_text(pointer)
    status, message = run_train(
        *(tools, monkeypatch, capsys, config, "--data-root", images),
        *("--work-dir", work, "--resume"),
    )
    assert status == 2
    assert f"{work / 'last_checkpoint'} names " in message
