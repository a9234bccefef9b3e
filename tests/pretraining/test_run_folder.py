# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Nothing of a run that goes on leads out of its folder, and what is said of it is printable."""

import os

import pytest

from xmoco_plugin.pretraining import PretrainError, check_files


@pytest.mark.parametrize(
    "name",
    ["epoch_2.pth", "iter_7.pth", "best_x_epoch_1.pth", "new.json", "log.txt", "20260101_000000"],
)
def test_a_link_out_of_the_folder_is_refused_and_one_inside_is_not(tmp_path, name):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "epoch_1.pth").write_text("weights")
    (folder / name).symlink_to("epoch_1.pth")
    check_files(folder)
    (folder / name).unlink()
    (tmp_path / "victim").write_text("of somebody")
    (folder / name).symlink_to(tmp_path / "victim")
    with pytest.raises(PretrainError, match=rf"{name} is a link to .*victim, and a run writes"):
        check_files(folder)


@pytest.mark.parametrize("name", ["epoch_2.pth", "iter_7.pth", "best_x.pth"])
def test_a_checkpoint_of_any_name_must_be_a_regular_file(tmp_path, name):
    os.mkfifo(tmp_path / name)
    with pytest.raises(PretrainError, match=rf"{name}: not a regular file: a pipe"):
        check_files(tmp_path)


def test_the_name_of_what_is_refused_is_printable(tmp_path):
    os.mkfifo(tmp_path / "epoch_\x1b[2J.pth")
    with pytest.raises(PretrainError) as error:
        check_files(tmp_path)
    assert r"epoch_\x1b[2J.pth" in str(error.value)
