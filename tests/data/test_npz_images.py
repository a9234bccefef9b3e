# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import io
import os
import zipfile

import numpy as np
import pytest
from mmengine.dataset import default_collate
from mmengine.logging import MMLogger
from mmpretrain.registry import DATASETS, TRANSFORMS
from torch.utils.data import DataLoader

from xmoco_plugin.data import NpzImages

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 8, 10, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def test_images_come_out_in_bgr_with_their_labels(tmp_path):
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    dataset = DATASETS.build(dict(type="NpzImages", data_root=str(tmp_path)))
    assert len(dataset) == 6
    assert dataset.CLASSES == ("0", "1", "2")
    assert dataset.get_gt_labels().tolist() == LABELS.tolist()
    for row in range(6):
        sample = dataset[row]
        np.testing.assert_array_equal(sample["img"], IMAGES[row, :, :, ::-1])
        assert sample["img"].flags.c_contiguous
        assert sample["img_shape"] == sample["ori_shape"] == (8, 10)


def test_names_of_classes_that_are_not_read_are_said(tmp_path, monkeypatch):
    said = []
    monkeypatch.setattr(MMLogger.get_current_instance(), "warning", said.append)
    names = np.array(["cat", "dog", "newt"], object)
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS, class_names=names)
    assert NpzImages(str(tmp_path)).CLASSES == ("0", "1", "2")
    (line,) = said
    assert line.startswith(f"{tmp_path / 'train.npz'}: the array 'class_names' is not read")
    assert NpzImages(str(tmp_path), classes=list(names)).CLASSES == ("cat", "dog", "newt")
    assert len(said) == 1


def test_labels_are_optional_and_splits_are_files(tmp_path):
    np.savez_compressed(tmp_path / "query.npz", images=IMAGES)
    sample = NpzImages(str(tmp_path), split="query")[0]
    assert "gt_label" not in sample


def test_writing_to_a_sample_leaves_the_set_alone(tmp_path):
    np.savez(tmp_path / "train.npz", images=IMAGES)
    dataset = NpzImages(str(tmp_path))
    dataset[0]["img"][:] = 0
    np.testing.assert_array_equal(dataset[0]["img"], IMAGES[0, :, :, ::-1])


def test_indices_and_subsets_keep_image_and_label_together(tmp_path):
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=np.arange(6))
    for dataset in (
        NpzImages(str(tmp_path), indices=[4, 1]),
        NpzImages(str(tmp_path), lazy_init=True).get_subset([4, 1]),
    ):
        assert [dataset[i]["gt_label"] for i in range(2)] == [4, 1]
        np.testing.assert_array_equal(dataset[0]["img"], IMAGES[4, :, :, ::-1])


def test_the_index_that_is_pickled_holds_no_pixels(tmp_path):
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    assert NpzImages(str(tmp_path)).data_bytes.nbytes < 6 * 60


def test_loader_processes_serve_it(tmp_path):
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    dataset = NpzImages(str(tmp_path), pipeline=[TRANSFORMS.build(dict(type="PackInputs"))])
    loader = DataLoader(dataset, batch_size=3, num_workers=2, collate_fn=default_collate)
    batches = list(loader)
    inputs = np.concatenate([batch["inputs"].numpy() for batch in batches])
    np.testing.assert_array_equal(inputs, IMAGES[..., ::-1].transpose(0, 3, 1, 2))


def test_given_classes_must_cover_the_labels(tmp_path):
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=LABELS)
    assert NpzImages(str(tmp_path), classes=["a", "b", "c"]).CLASSES == ("a", "b", "c")
    with pytest.raises(ValueError, match="largest label is 2, but only 2 classes"):
        NpzImages(str(tmp_path), classes=["a", "b"])


def test_a_missing_archive_is_named_with_those_that_are_there(tmp_path):
    np.savez(tmp_path / "test.npz", images=IMAGES)
    with pytest.raises(FileNotFoundError, match=r"train\.npz; the folder holds test\.npz"):
        NpzImages(str(tmp_path))
    with pytest.raises(FileNotFoundError, match=r"no \.npz file or does not exist"):
        NpzImages(str(tmp_path / "nowhere"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(data=IMAGES), r"no array 'images', but \['data'\]"),
        (dict(images=IMAGES.astype(np.float32)), "float32 of shape"),
        (dict(images=IMAGES.transpose(0, 3, 1, 2)), r"\(6, 3, 8, 10\)"),
        (dict(images=IMAGES[..., 0]), r"\(6, 8, 10\)"),
        (dict(images=IMAGES[:0]), r"\(0, 8, 10, 3\)"),
        (dict(images=IMAGES, labels=LABELS[:5]), r"\(5,\) beside 6 images"),
        (dict(images=IMAGES, labels=LABELS[:, None]), r"\(6, 1\) beside 6 images"),
        (dict(images=IMAGES, labels=LABELS / 2), "float64"),
        (dict(images=IMAGES, labels=LABELS - 1), "minimum -1"),
        (dict(images=IMAGES, labels=LABELS.astype(object)), "plain arrays"),
    ],
)
def test_wrong_arrays_are_named_with_shape_and_type(tmp_path, arrays, message):
    np.savez(tmp_path / "train.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        NpzImages(str(tmp_path))


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 cut off"])
def test_a_file_that_is_no_archive_is_named(tmp_path, content):
    (tmp_path / "train.npz").write_bytes(content)
    with pytest.raises(ValueError, match=r"train\.npz is not a readable \.npz"):
        NpzImages(str(tmp_path))


def test_a_lone_npy_array_under_the_name_is_named(tmp_path):
    with open(tmp_path / "train.npz", "wb") as file:
        np.save(file, IMAGES)
    with pytest.raises(ValueError, match=r"train\.npz is not a readable \.npz"):
        NpzImages(str(tmp_path))


def claim(path, shape: tuple[int, ...], content: bytes) -> None:
    """An archive whose array says that it has this shape."""
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        header, dict(descr="|u1", fortran_order=False, shape=shape)
    )
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("images.npy", header.getvalue() + content)


def test_an_array_that_claims_more_than_the_archive_has_is_refused_before_memory_is_asked_for(
    tmp_path, monkeypatch
):
    claim(tmp_path / "train.npz", (10**6, 200, 200, 3), bytes(100))
    monkeypatch.setattr(np.lib.format, "read_array", lambda *a, **k: pytest.fail("was read"))
    with pytest.raises(ValueError, match=r"'images' says it has 120\.0 GB, the archive has 100 b"):
        NpzImages(str(tmp_path))


def test_arrays_above_the_limit_are_refused_though_the_file_is_small(tmp_path):
    claim(tmp_path / "train.npz", (1000, 100, 100, 3), bytes(30_000_000))
    assert (tmp_path / "train.npz").stat().st_size < 100_000
    with pytest.raises(ValueError, match=r"30\.0 MB, the limit is 10\.0 MB \(max_bytes\)"):
        NpzImages(str(tmp_path), max_bytes=10_000_000)
    assert len(NpzImages(str(tmp_path))) == 1000


def test_a_label_that_would_name_billions_of_classes_is_refused(tmp_path):
    labels = np.array([0, 1, 2, 2**62, 1, 0])
    np.savez(tmp_path / "train.npz", images=IMAGES, labels=labels)
    with pytest.raises(ValueError, match="largest label is 4611686018427387904"):
        NpzImages(str(tmp_path))


@pytest.mark.timeout(60)
def test_a_pipe_in_the_place_of_an_archive_is_named(tmp_path):
    os.mkfifo(tmp_path / "train.npz")
    with pytest.raises(ValueError, match="not a regular file: a named pipe"):
        NpzImages(str(tmp_path))
