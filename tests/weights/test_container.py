# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Files that are no files, and files that claim more than they hold."""

import os
import re
import zipfile

import pytest
import torch

from xmoco_plugin.weights import CheckpointError, read_checkpoint

from .hostile import honest, rewritten

NUMEL = b"M\xe8\x03"  # 1,000 in the pickle: first the storage's, then the tensor's
TERA = b"\x8a\x06" + (10**12).to_bytes(6, "little")


def test_pipes_links_to_devices_and_links_to_themselves_are_refused_without_waiting(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    (tmp_path / "zero.pth").symlink_to("/dev/zero")
    (tmp_path / "self.pth").symlink_to("self.pth")
    (tmp_path / "gone.pth").symlink_to("nowhere")
    for name, reason in (
        ("pipe", "a named pipe"),
        ("zero", "a device"),
        ("self", "reading failed"),
        ("gone", "a link to a file that does not exist"),
    ):
        with pytest.raises(CheckpointError, match=reason):
            read_checkpoint(tmp_path / f"{name}.pth")


@pytest.mark.parametrize("mmap", [False, True])
@pytest.mark.parametrize("places", [(0,), (1,), (0, 1)])
def test_a_tensor_that_claims_terabytes_is_refused_in_one_sentence(tmp_path, places, mmap):
    torch.save({"a.weight": torch.arange(1000.0)}, tmp_path / "a.pth")

    def claim(pickled: bytes) -> bytes:
        found = [m.start() for m in re.finditer(re.escape(NUMEL), pickled)]
        for place in reversed(places):
            at = found[place]
            pickled = pickled[:at] + TERA + pickled[at + len(NUMEL) :]
        return pickled

    rewritten(tmp_path / "a.pth", tmp_path / "b.pth", claim)
    if mmap and places == (0,):
        # Only the pieces that are there are mapped; what the tensor says of itself is true.
        assert read_checkpoint(tmp_path / "b.pth", mmap=True)["a.weight"].shape == (1000,)
        return
    with pytest.raises(CheckpointError, match="damaged or cut off"):
        read_checkpoint(tmp_path / "b.pth", mmap=mmap)


class Claim:
    """Unpickles as a tensor of so many numbers, of which the file holds none."""

    def __init__(self, count: int):
        self.count = count

    def __reduce__(self):
        return torch.Tensor, (self.count,)


@pytest.mark.parametrize("part", ["state_dict", "optimizer"])
def test_a_tensor_that_is_in_no_file_is_refused_before_it_is_touched(tmp_path, part):
    content = {"state_dict": honest(), part: {"a.weight": Claim(10**7)}}
    torch.save(content, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"claim 40,000,\d+ bytes, the file has"):
        read_checkpoint(tmp_path / "a.pth")


def test_compressed_records_are_refused_with_their_size(tmp_path):
    torch.save({"a.weight": torch.ones(10**5)}, tmp_path / "a.pth")
    packed = rewritten(
        tmp_path / "a.pth", tmp_path / "b.pth", lambda content: content, zipfile.ZIP_DEFLATED
    )
    assert packed.stat().st_size < 10**4
    with pytest.raises(CheckpointError, match=r"compressed zip .*which torch.save never writes"):
        read_checkpoint(packed)


def test_torchs_oldest_container_is_refused_and_not_run(tmp_path):
    import tarfile

    with tarfile.open(tmp_path / "a.pth", "w") as archive:
        for name in ("storages", "tensors", "pickle"):
            (tmp_path / name).write_bytes(b"\x80\x02K\x00.")
            archive.add(tmp_path / name, name)
    with pytest.raises(CheckpointError, match="damaged or cut off"):
        read_checkpoint(tmp_path / "a.pth")


def test_a_name_with_control_characters_is_shown_escaped(tmp_path):
    path = tmp_path / "a\x1b[31m\n.pth"
    torch.save({"state_dict": honest() | {"x.weight": torch.tensor([torch.nan])}}, path)
    with pytest.raises(CheckpointError, match="not finite") as error:
        read_checkpoint(path)
    assert "a\\x1b[31m\\n.pth" in str(error.value)
    assert str(error.value).isprintable()
