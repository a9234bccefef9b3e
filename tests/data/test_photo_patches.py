# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import importlib.abc
import socket
import sys
from importlib import resources

import numpy as np
import pytest
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS, TRANSFORMS
from PIL import Image
from torch.utils.data import DataLoader

from xmoco_plugin.data import PhotoPatches
from xmoco_plugin.data import photo_patches as module

SIDE = 48


@pytest.fixture(scope="module")
def splits() -> dict[str, PhotoPatches]:
    pytest.importorskip("skimage")
    return {split: PhotoPatches(split) for split in ("train", "test")}


def samples(dataset) -> list[dict]:
    return [dataset[i] for i in range(len(dataset))]


def raw_pixel_knn(bank: list[dict], queries: list[dict], k: int = 20) -> float:
    """Accuracy of a plain vote of the k nearest by cosine, the bank's mean removed."""
    b, q = (
        np.stack([sample["img"].reshape(-1) for sample in part]).astype(np.float32)
        for part in (bank, queries)
    )
    mean = b.mean(0)
    b, q = b - mean, q - mean
    b /= np.linalg.norm(b, axis=1, keepdims=True)
    q /= np.linalg.norm(q, axis=1, keepdims=True)
    labels = np.array([sample["gt_label"] for sample in bank])
    nearest = np.argpartition(-(q @ b.T), k, axis=1)[:, :k]
    votes = np.array([np.bincount(row, minlength=17).argmax() for row in labels[nearest]])
    return float((votes == [sample["gt_label"] for sample in queries]).mean())


def test_sizes_and_classes_are_those_of_the_docstring(splits):
    train, test = splits["train"], splits["test"]
    assert (len(train), len(test)) == (4080, 1020)
    assert train.CLASSES == test.CLASSES == tuple(module.PHOTOS)
    assert len(set(module.PHOTOS.values())) == 17
    for dataset in splits.values():
        counts = np.bincount(dataset.get_gt_labels(), minlength=17)
        assert counts.min() == counts.max(), "the largest class has a share of 1/17"


def test_samples_are_uint8_patches_that_may_be_written_to(splits):
    for dataset in splits.values():
        sample = dataset[5]
        assert (sample["img"].shape, sample["img"].dtype) == ((SIDE, SIDE, 3), np.uint8)
        assert sample["img"].flags.c_contiguous
        assert sample["img_shape"] == sample["ori_shape"] == (SIDE, SIDE)
        before = sample["img"].copy()
        sample["img"][:] = 0
        np.testing.assert_array_equal(dataset[5]["img"], before)


def test_patches_are_the_photographs_pixels_in_bgr(splits):
    folder = resources.files("skimage") / "data"
    photos = {
        name: np.asarray(Image.open(folder / file).convert("RGB"))
        for name, file in module.PHOTOS.items()
    }
    for dataset in splits.values():
        for sample in samples(dataset):
            y, x = sample["y"], sample["x"]
            patch = photos[sample["photo"]][y : y + SIDE, x : x + SIDE]
            np.testing.assert_array_equal(sample["img"], patch[:, :, ::-1])
            assert (
                module.PHOTOS[sample["photo"]] == list(module.PHOTOS.values())[sample["gt_label"]]
            )


def test_the_gap_between_training_and_test_is_one_patch_wide_by_coordinates(splits):
    right_edge = dict.fromkeys(module.PHOTOS, 0)
    left_edge = dict.fromkeys(module.PHOTOS, 10**9)
    for sample in samples(splits["train"]):
        name = sample["photo"]
        right_edge[name] = max(right_edge[name], sample["x"] + SIDE)
    for sample in samples(splits["test"]):
        left_edge[sample["photo"]] = min(left_edge[sample["photo"]], sample["x"])
    assert {left_edge[name] - right_edge[name] for name in module.PHOTOS} == {SIDE}


def test_no_pixel_is_in_both_splits_by_the_pixels_themselves(monkeypatch):
    """Photographs whose pixels are their own serial numbers tell where each patch comes from."""

    def numbered(gray: bool) -> dict[str, np.ndarray]:
        photos = {}
        for label, (height, width) in enumerate([(191, 384), (512, 512), (303, 384), (1411, 1411)]):
            serial = np.arange(height * width).reshape(height, width)
            # 24 bits hold each serial number of the largest; labels tell the photographs apart.
            photos[f"photo{label}"] = np.stack(
                [serial & 255, serial >> 8 & 255, serial >> 16], axis=2
            ).astype(np.uint8)
        return photos

    monkeypatch.setattr(module, "_read_photos", numbered)
    shapes = {name: photo.shape for name, photo in numbered(False).items()}
    seen = {}
    for split in ("train", "test"):
        for sample in samples(PhotoPatches(split)):
            serial = sample["img"].astype(np.int64) @ [1, 256, 65536]
            seen.setdefault((sample["photo"], split), []).append(serial)
    for name, (height, width, _) in shapes.items():
        covered = np.zeros((height * width, 2), bool)
        for column, split in enumerate(("train", "test")):
            covered[np.unique(seen[name, split]), column] = True
        assert not covered.all(axis=1).any(), "a pixel is in a training and in a test patch"
        train, test = (covered[:, i].reshape(height, width).any(0) for i in (0, 1))
        between = np.flatnonzero(test)[0] - np.flatnonzero(train)[-1] - 1
        assert between == SIDE
        assert train.sum() > test.sum() > SIDE


def test_no_two_patches_of_a_split_are_at_the_same_place(splits):
    for dataset in splits.values():
        places = {(sample["photo"], sample["y"], sample["x"]) for sample in samples(dataset)}
        assert len(places) == len(dataset)


def test_two_builds_are_equal_bit_for_bit(splits):
    again = DATASETS.build(dict(type="PhotoPatches", split="test"))
    for one, two in zip(samples(splits["test"]), samples(again), strict=True):
        assert (one["photo"], one["y"], one["x"]) == (two["photo"], two["y"], two["x"])
        np.testing.assert_array_equal(one["img"], two["img"])


def test_raw_pixels_find_the_photograph_in_a_third_of_cases_and_fewer_in_gray(splits):
    accuracy = raw_pixel_knn(samples(splits["train"]), samples(splits["test"]))
    assert 0.30 < accuracy < 0.45
    gray = [samples(PhotoPatches(split, gray=True)) for split in ("train", "test")]
    assert all((sample["img"] == sample["img"][:, :, :1]).all() for part in gray for sample in part)
    assert 0.15 < raw_pixel_knn(*gray) < 0.30


def test_only_places_are_pickled_not_pixels(splits):
    assert splits["train"].data_bytes.nbytes < 4080 * 100


def test_indices_and_loader_processes_work(splits):
    dataset = PhotoPatches(
        indices=[4000, 3, 17], pipeline=[TRANSFORMS.build(dict(type="PackInputs"))]
    )
    loader = DataLoader(dataset, batch_size=3, num_workers=2, collate_fn=default_collate)
    (batch,) = list(loader)
    for row, index in enumerate([4000, 3, 17]):
        expected = splits["train"][index]
        np.testing.assert_array_equal(
            batch["inputs"][row].permute(1, 2, 0).numpy(), expected["img"]
        )
        assert int(batch["data_samples"][row].gt_label) == expected["gt_label"]


@pytest.mark.parametrize("side", [32, 64, 96])
def test_other_patch_sizes_keep_counts_and_gap(splits, side):
    train, test = (PhotoPatches(split, patch_size=side) for split in ("train", "test"))
    assert (len(train), len(test)) == (4080, 1020)
    last = max(s["x"] + side for s in samples(train) if s["photo"] == "page")
    first = min(s["x"] for s in samples(test) if s["photo"] == "page")
    assert first - last == side


def test_arguments_out_of_range_are_named(splits):
    with pytest.raises(ValueError, match="'val'; choose 'train' or 'test'"):
        PhotoPatches("val")
    with pytest.raises(ValueError, match="patch_size is 0"):
        PhotoPatches(patch_size=0)
    with pytest.raises(ValueError, match=r"128x128 px; lower patch_size"):
        PhotoPatches("test", patch_size=128)


def test_grid_corners_fill_the_region_evenly():
    assert module.grid_corners(10, 10, 4, 4) == [(0, 0), (0, 6), (6, 0), (6, 6)]
    corners = module.grid_corners(100, 200, 10, 8)
    assert len(set(corners)) == 8
    assert {y for y, _ in corners} == {0, 90}
    assert {x for _, x in corners} == {0, 63, 127, 190}


def test_without_scikit_image_the_error_gives_the_command(monkeypatch):
    class Hidden(importlib.abc.MetaPathFinder):
        def find_spec(self, name, path=None, target=None):
            if name.split(".")[0] == "skimage":
                raise ModuleNotFoundError("No module named 'skimage'")

    for name in [name for name in sys.modules if name.split(".")[0] == "skimage"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setattr(sys, "meta_path", [Hidden(), *sys.meta_path])
    with pytest.raises(ImportError, match=r"pip install 'scikit-image>=0\.25"):
        PhotoPatches()


def test_a_scikit_image_without_the_photograph_is_named(monkeypatch, splits):
    monkeypatch.setitem(module.PHOTOS, "astronaut", "no_such_photo.png")
    with pytest.raises(FileNotFoundError, match=r"has no no_such_photo\.png"):
        PhotoPatches()


def test_nothing_is_downloaded(monkeypatch, splits):
    monkeypatch.setattr(socket, "create_connection", lambda *a, **k: pytest.fail("network"))
    monkeypatch.setattr(socket.socket, "connect", lambda *a: pytest.fail("network"))
    assert len(PhotoPatches("test")) == 1020
