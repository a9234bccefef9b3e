# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a run's last_checkpoint names: a file of the run's own folder."""

import pytest

from xmoco_plugin.untrusted import FileRefusedError, last_checkpoint


def test_only_the_name_counts_wherever_the_folder_was(tmp_path):
    here, there = tmp_path / "here", tmp_path / "there"
    for folder in (here, there):
        folder.mkdir()
        (folder / "epoch_1.pth").write_bytes(b"x")
    assert last_checkpoint(here) is None
    (here / "last_checkpoint").write_text(f"{there / 'epoch_1.pth'}\n")
    assert last_checkpoint(here) == here / "epoch_1.pth"


def test_a_path_out_of_the_folder_is_not_followed(tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    for folder in (run, other):
        folder.mkdir()
    (run / "epoch_1.pth").write_bytes(b"x")
    (other / "epoch_2.pth").write_bytes(b"x")
    (run / "last_checkpoint").write_text(str(other / "epoch_2.pth"))
    with pytest.raises(FileRefusedError, match=r"names '.*epoch_2\.pth'.*there: epoch_1\.pth"):
        last_checkpoint(run)
    # Unless the run's own config keeps its checkpoints there.
    assert last_checkpoint(run, other) == other / "epoch_2.pth"


@pytest.mark.parametrize("text", ["", "/", "..", ".", "x" * 5000, "a\0b", "\x1b[2J"])
def test_what_names_nothing_is_a_sentence(tmp_path, text):
    (tmp_path / "last_checkpoint").write_text(text)
    with pytest.raises(FileRefusedError, match=r"last_checkpoint names .*remove the file") as found:
        last_checkpoint(tmp_path)
    assert str(found.value).isprintable()
