# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import hashlib
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmpretrain.datasets import CustomDataset

from xmoco_plugin.data import LabelledShare, NpzImages, write_pack

SIZES = {"cat": 40, "dog": 25, "emu": 3}


@pytest.fixture
def folder(tmp_path):
    for name, count in SIZES.items():
        (tmp_path / name).mkdir()
        for i in range(count):
            (tmp_path / name / f"{name}_{i}.jpg").touch()
    return tmp_path


def names(share) -> set[str]:
    return {Path(share.get_data_info(i)["img_path"]).name for i in range(len(share))}


def test_of_each_class_the_first_by_hash_of_the_file_name(folder):
    share = LabelledShare(CustomDataset(data_root=str(folder)), percent=10)
    expected = set()
    for name, count in SIZES.items():
        files = [f"{name}_{i}.jpg" for i in range(count)]
        files.sort(key=lambda file: hashlib.sha256(file.encode()).hexdigest())
        expected |= set(files[: {"cat": 4, "dog": 2, "emu": 1}[name]])
    assert names(share) == expected
    assert share.metainfo["classes"] == ("cat", "dog", "emu")


def test_the_smaller_share_lies_within_the_larger_and_the_folder_plays_no_part(folder, tmp_path):
    whole = lambda: CustomDataset(data_root=str(folder))  # noqa: E731
    small, large = LabelledShare(whole(), percent=10), LabelledShare(whole(), percent=50)
    assert names(small) < names(large)
    assert len(LabelledShare(whole(), percent=100)) == sum(SIZES.values())


def test_a_published_list_decides_alone(folder):
    (folder / "1percent.txt").write_text("dog_7.jpg\ncat_3.jpg\n\n")
    share = LabelledShare(
        CustomDataset(data_root=str(folder)), percent=1, files=str(folder / "1percent.txt")
    )
    assert names(share) == {"dog_7.jpg", "cat_3.jpg"}
    assert [share.get_data_info(i)["gt_label"] for i in range(2)] == [0, 1]


def test_arrays_are_named_by_their_place_and_yield_their_pixels(tmp_path):
    images = np.arange(30, dtype=np.uint8)[:, None, None, None] * np.ones((4, 4, 3), np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=np.arange(30) % 3)
    config = dict(type="NpzImages", data_root=str(tmp_path))
    share = LabelledShare(config, percent=20)
    rows = [int(share[i]["img"][0, 0, 0]) for i in range(len(share))]
    assert len(rows) == 6
    assert rows == sorted(rows)
    assert [share[i]["gt_label"] for i in range(6)] == [row % 3 for row in rows]
    assert rows == [int(s["img"][0, 0, 0]) for s in LabelledShare(config, percent=20)]


def test_of_a_pack_it_takes_the_images_that_it_takes_of_the_folder(folder, tmp_path, monkeypatch):
    for file in folder.rglob("*.jpg"):
        file.write_bytes(cv2.imencode(".jpg", np.zeros((4, 4, 3), np.uint8))[1].tobytes())
    write_pack(folder, tmp_path / "pack")
    monkeypatch.setattr("xmoco_plugin.data.pack.Pack.content", None)  # no pixels are read
    share = LabelledShare(dict(type="PackedImages", data_root=str(tmp_path / "pack")), percent=10)
    assert names(share) == names(LabelledShare(CustomDataset(data_root=str(folder)), percent=10))
    assert sorted(share.get_data_info(i)["gt_label"] for i in range(7)) == [0] * 4 + [1] * 2 + [2]
    assert share.dataset.get_gt_labels().tolist() == [0] * 4 + [1] * 2 + [2]


@pytest.mark.parametrize("percent", [0, -1, 101])
def test_a_percent_out_of_range_is_refused(folder, percent):
    with pytest.raises(ValueError, match=f"not {percent}"):
        LabelledShare(CustomDataset(data_root=str(folder)), percent=percent)


def test_lists_that_do_not_fit_are_refused(folder):
    whole = CustomDataset(data_root=str(folder))
    with pytest.raises(FileNotFoundError, match=r"no list of file names .*none\.txt"):
        LabelledShare(whole, files=str(folder / "none.txt"))
    (folder / "list.txt").write_text("cat_1.jpg\nyak_1.jpg\n")
    with pytest.raises(ValueError, match=r"names 2 images, 1 of them not in the set, such as yak"):
        LabelledShare(whole, files=str(folder / "list.txt"))
    (folder / "list.txt").write_text("cat_1.jpg\ncat_1.jpg\n")
    with pytest.raises(ValueError, match="not unique"):
        LabelledShare(whole, files=str(folder / "list.txt"))


def test_images_without_a_label_are_refused(tmp_path):
    np.savez(tmp_path / "train.npz", images=np.zeros((2, 4, 4, 3), np.uint8))
    with pytest.raises(ValueError, match="needs one label per image; 0 has None"):
        LabelledShare(NpzImages(str(tmp_path)), percent=50)
