# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
import pickle

import numpy as np
import pytest
import torch
from mmengine.logging import HistoryBuffer
from mmengine.runner import CheckpointLoader

from xmoco_plugin.checkpoint import (
    CheckpointError,
    allow_checkpoint_classes,
    compare_state,
    describe_difference,
    read_checkpoint,
    state_dict_of,
    write_atomic,
)

from . import tiny_runner


class Calls:
    """Unpickles by calling a function: what a hostile checkpoint holds."""

    def __init__(self, function, *args):
        self.function, self.args = function, args

    def __reduce__(self):
        return self.function, self.args


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A checkpoint that a real Runner wrote."""
    folder = tmp_path_factory.mktemp("trained")
    tiny_runner.build(folder).train()
    return folder / "epoch_2.pth"


def test_a_runners_checkpoint_is_read_without_running_code(trained):
    checkpoint = read_checkpoint(trained)
    history = checkpoint["message_hub"]["log_scalars"]["train/loss"]
    assert isinstance(history, HistoryBuffer)
    assert len(history.data[0]) == 8
    assert history.statistics("mean") == pytest.approx(history.data[0].mean())


def test_the_hosts_own_loading_reads_it_with_weights_only(trained):
    allow_checkpoint_classes()
    # Twice: the maintained host takes its own allowances back after the first.
    for _ in range(2):
        CheckpointLoader.load_checkpoint(str(trained), "cpu")
        torch.load(trained, weights_only=True)


def test_resuming_goes_on_where_the_run_stopped(trained, tmp_path):
    runner = tiny_runner.build(
        tmp_path, resume=True, load_from=str(trained), train_cfg=dict(by_epoch=True, max_epochs=3)
    )
    runner.train()
    first, second = read_checkpoint(trained), read_checkpoint(tmp_path / "epoch_3.pth")
    assert (first["meta"]["iter"], second["meta"]["iter"]) == (8, 12)
    assert int(second["state_dict"]["encoder_k.steps"]) == 12
    # Written on through the slots of 3 x 16 keys, not from the start again.
    assert int(second["state_dict"]["queue_ptr"]) == 48 % 24
    assert len(second["message_hub"]["log_scalars"]["train/loss"].data[0]) == 12


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_arrays_pickled_by_numpy_1_and_2_are_read(trained, tmp_path, module):
    # In torch's container of before 1.6, whose plain pickle can be edited.
    text = pickle.dumps({"a": np.arange(3.0), "b": np.float64(2)}, protocol=2)
    for other in (b"numpy._core.multiarray", b"numpy.core.multiarray"):
        text = text.replace(other, module.encode())
    path = tmp_path / "numpy.pth"
    magic = [pickle.dumps(part, protocol=2) for part in (0x1950A86A20F9469CFC6C, 1001, {})]
    path.write_bytes(b"".join(magic) + text + pickle.dumps([], protocol=2))
    loaded = read_checkpoint(path)
    assert loaded["a"].tolist() == [0, 1, 2]
    assert loaded["b"] == 2


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda marker: Calls(os.system, f"touch {marker}"), "system"),
        (lambda marker: Calls(eval, f"open({str(marker)!r}, 'w')"), "eval"),
        (lambda marker: Calls(getattr, HistoryBuffer, "__init__"), "getattr"),
        (lambda marker: Calls(getattr, torch.Tensor, "apply_"), "getattr"),
        (lambda marker: torch.nn.Linear(2, 2), "torch.nn.modules.linear.Linear"),
    ],
)
def test_what_needs_code_is_named_and_not_run(tmp_path, make, named, legacy):
    marker, path = tmp_path / "marker", tmp_path / "bad.pth"
    torch.save({"state_dict": {"x": make(marker)}}, path, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError, match=named):
        read_checkpoint(path)
    assert not marker.exists()


def test_the_same_file_does_run_code_where_reading_is_not_safe(tmp_path):
    # Otherwise the test above could pass without any danger being there.
    marker, path = tmp_path / "marker", tmp_path / "bad.pth"
    torch.save({"x": Calls(os.system, f"touch {marker}")}, path)
    torch.load(path, weights_only=False)
    assert marker.exists()


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "empty"),
        (b"<html>\nnot found\n", 'text file that begins "<html>"'),
        ("kein Prüfpunkt\n".encode() * 99, 'text file that begins "kein Prüfpunkt"'),
        (b"\x00\x01\x02" * 99, "not written by torch.save"),
        (pickle.dumps({"a": 1}, protocol=4), "not written by torch.save"),
        (b"\x80\x02}q", "damaged or cut off"),
    ],
)
def test_a_file_that_is_no_checkpoint_is_called_what_it_is(tmp_path, content, reason):
    path = tmp_path / "file.pth"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=reason) as error:
        read_checkpoint(path)
    assert str(path) in str(error.value)


@pytest.mark.parametrize("share", [0.001, 0.5, 0.99])
def test_a_truncated_checkpoint_is_called_cut_off_with_its_size(trained, tmp_path, share):
    whole = trained.read_bytes()
    path = tmp_path / "cut.pth"
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(CheckpointError, match=rf"cut off.* {path.stat().st_size:,} bytes"):
        read_checkpoint(path)


def test_missing_files_folders_and_lists_are_refused(tmp_path):
    with pytest.raises(CheckpointError, match="There is no checkpoint"):
        read_checkpoint(tmp_path / "none.pth")
    with pytest.raises(CheckpointError, match="is a folder"):
        read_checkpoint(tmp_path)
    torch.save([1, 2], tmp_path / "list.pth")
    with pytest.raises(CheckpointError, match="holds a list"):
        read_checkpoint(tmp_path / "list.pth")


def test_mapped_reading_gives_the_same_weights(trained):
    plain, mapped = read_checkpoint(trained), read_checkpoint(trained, mmap=True)
    for key, value in plain["state_dict"].items():
        assert torch.equal(value, mapped["state_dict"][key])


def test_weights_lose_the_prefix_of_a_wrapped_model():
    assert state_dict_of({"state_dict": {"module.a.b": 1, "c": 2}}) == {"a.b": 1, "c": 2}
    assert state_dict_of({"module.a": 1, "modules.b": 2}) == {"a": 1, "modules.b": 2}
    with pytest.raises(CheckpointError, match="list"):
        state_dict_of({"state_dict": []})


def test_comparison_finds_each_kind_of_difference():
    ours = {"a": (2, 3), "b": (1,), "bn.num_batches_tracked": (), "c": (4,)}
    theirs = {"a": torch.zeros(2, 3), "c": torch.zeros(5), "d": torch.zeros(1)}
    difference = compare_state(ours, theirs)
    assert difference == (["b"], ["d"], [("c", (4,), (5,))])
    text = describe_difference(difference)
    for part in ("c: checkpoint (5,), model (4,)", "1 in the model only", "1 in the checkpoint"):
        assert part in text
    assert describe_difference(compare_state(ours, ours)) == ""


def test_a_long_difference_is_cut_with_its_count():
    difference = compare_state({f"k{i}": (1,) for i in range(1234)}, {})
    lines = describe_difference(difference).splitlines()
    assert len(lines) == 12
    assert "1,234 in the model only" in lines[0]
    assert "1,224 more" in lines[-1]


def test_a_failed_write_leaves_the_old_file_and_no_rubbish(tmp_path):
    path = tmp_path / "w.pth"
    write_atomic({"a": torch.ones(2)}, path)

    def breaks_half_way(obj, file):
        file.write(b"half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomic({"a": torch.zeros(2)}, path, save=breaks_half_way)
    assert read_checkpoint(path)["a"].tolist() == [1, 1]
    assert os.listdir(tmp_path) == ["w.pth"]
