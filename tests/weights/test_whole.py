# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run whose newest checkpoint was cut off goes on from the one before it."""

import pytest
import torch

from xmoco_plugin.untrusted import FileRefusedError
from xmoco_plugin.weights import go_on_from, newest_before
from xmoco_plugin.weights.whole import Place, fault


@pytest.fixture
def run(tmp_path):
    for number in (1, 2, 10):
        torch.save({"state_dict": {"w": torch.arange(999.0)}}, tmp_path / f"epoch_{number}.pth")
    (tmp_path / "last_checkpoint").write_text(str(tmp_path / "epoch_10.pth"))
    return tmp_path


def test_a_whole_one_is_taken_without_a_word(run):
    found = go_on_from(run)
    assert found.checkpoint == run / "epoch_10.pth"
    assert found.said() == []


def cut(content: bytes) -> bytes:
    return content[:-200]


def bend(content: bytes) -> bytes:
    """One byte of the weights is another: a page that never reached the disk."""
    place = content.index(torch.arange(999.0).numpy().tobytes()) + 400
    return content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :]


@pytest.mark.parametrize("damage", [cut, bend, lambda content: b"", lambda content: b"\0" * 900])
def test_the_one_before_a_damaged_one_is_taken_and_said(run, damage):
    newest = run / "epoch_10.pth"
    newest.write_bytes(damage(newest.read_bytes()))
    found = go_on_from(run)
    assert found.checkpoint == run / "epoch_2.pth"  # by number: 10 is behind 2
    (line,) = found.said()
    assert "epoch_10.pth" in line
    assert line.endswith("; going on from epoch_2.pth")


def test_an_empty_pointer_costs_nothing(run):
    (run / "last_checkpoint").write_text("")
    found = go_on_from(run)
    assert found.checkpoint == run / "epoch_10.pth"
    (line,) = found.said()
    assert "last_checkpoint names nothing" in line
    assert "going on from epoch_10.pth" in line


def test_without_a_pointer_a_run_begins_anew(run):
    (run / "last_checkpoint").unlink()
    assert go_on_from(run).checkpoint is None


def test_epochs_and_iterations_are_not_compared(run):
    (run / "iter_500.pth").write_bytes((run / "epoch_1.pth").read_bytes())
    assert newest_before(run, run / "epoch_2.pth") == run / "epoch_1.pth"
    assert newest_before(run, run / "iter_500.pth") is None
    (run / "last_checkpoint").write_text("")
    with pytest.raises(FileRefusedError, match="Write the name of a checkpoint"):
        go_on_from(run)


def test_where_all_are_damaged_it_begins_anew_and_says_so(run):
    for file in run.glob("*.pth"):
        file.write_bytes(b"")
    found = go_on_from(run)
    assert found.checkpoint is None
    assert len(found.said()) == 3
    assert all(line.endswith("; beginning anew") for line in found.said())


def test_a_checkpoint_by_the_clock_comes_between_its_epoch_and_the_next(run):
    timed, later = run / "epoch_2_iter_25.pth", run / "epoch_2_iter_130.pth"
    for file in (timed, later):
        file.write_bytes((run / "epoch_1.pth").read_bytes())
    assert newest_before(run, run / "epoch_10.pth") == later
    assert newest_before(run, later) == timed
    assert newest_before(run, timed) == run / "epoch_2.pth"
    (run / "epoch_10.pth").unlink()
    (run / "last_checkpoint").write_text("")
    assert go_on_from(run).checkpoint == later


def test_of_many_checkpoints_each_is_compared_once(tmp_path, monkeypatch):
    for epoch in range(200):
        (tmp_path / f"epoch_{epoch}.pth").touch()
        (tmp_path / f"epoch_{epoch}_iter_{7 * epoch + 3}.pth").touch()
    count, order = [0], Place.order

    def counted(*pair):
        count[0] += 1
        return order(*pair)

    monkeypatch.setattr(Place, "order", counted)
    last = tmp_path / "epoch_150.pth"
    assert newest_before(tmp_path, last) == tmp_path / "epoch_149_iter_1046.pth"
    assert newest_before(tmp_path, None) == tmp_path / "epoch_199_iter_1396.pth"
    assert count[0] <= 2 * 400


def test_a_checkpoint_that_says_it_spans_several_disks_is_damaged_and_no_traceback(tmp_path):
    # The end of a large archive, and a locator of it that counts two disks.
    locator = b"PK\x06\x07" + (0).to_bytes(4, "little") + (0).to_bytes(8, "little") + b"\2\0\0\0"
    end = b"PK\x05\x06" + bytes(18)
    (tmp_path / "epoch_1.pth").write_bytes(b"PK\x03\x04" + bytes(200) + locator + end)
    assert "epoch_1.pth is" in fault(tmp_path / "epoch_1.pth")
