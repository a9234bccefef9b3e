# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import hashlib
import pickle

import numpy as np
import pytest
from mmpretrain.datasets import CIFAR10

from xmoco_plugin.data import NpzImages

from .tool_modules import import_tool


@pytest.fixture
def tool():
    return import_tool("cifar10_to_npz")


@pytest.fixture
def cifar(tmp_path, monkeypatch):
    """CIFAR-10's layout with six images, whose sums the host is told."""
    folder = tmp_path / "cifar-10-batches-py"
    folder.mkdir()
    rng = np.random.default_rng(0)
    lists = {}
    for name, count in (("data_batch_1", 4), ("test_batch", 2)):
        data = rng.integers(0, 256, (count, 3 * 32 * 32), dtype=np.uint8)
        content = pickle.dumps({"data": data, "labels": list(range(count))})
        (folder / name).write_bytes(content)
        lists[name] = (data, hashlib.md5(content).hexdigest())
    monkeypatch.setattr(CIFAR10, "train_list", [["data_batch_1", lists["data_batch_1"][1]]])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", lists["test_batch"][1]]])
    return tmp_path, {name: data for name, (data, _) in lists.items()}


def test_both_splits_hold_the_pixels_and_labels_and_read_as_a_data_set(tool, cifar, tmp_path):
    folder, data = cifar
    tool.convert(str(folder), tmp_path / "out")
    with np.load(tmp_path / "out" / "train.npz") as arrays:
        expected = data["data_batch_1"].reshape(4, 3, 32, 32).transpose(0, 2, 3, 1)
        assert np.array_equal(arrays["images"], expected)
        assert arrays["labels"].tolist() == [0, 1, 2, 3]
    assert len(NpzImages(data_root=str(tmp_path / "out"), split="test")) == 2


def test_a_folder_without_them_and_a_damaged_file_are_named(tool, cifar, tmp_path):
    folder, _ = cifar
    with pytest.raises(FileNotFoundError, match="no folder cifar-10-batches-py"):
        tool.convert(str(tmp_path / "elsewhere"), tmp_path / "out")
    (folder / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"cut")
    with pytest.raises(FileNotFoundError, match="not whole"):
        tool.convert(str(folder), tmp_path / "out")
