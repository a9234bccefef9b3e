# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pickle

import numpy as np
import pytest
import torch
from mmengine.dataset import default_collate
from mmengine.registry import init_default_scope
from mmpretrain.registry import TRANSFORMS
from torch.utils.data import DataLoader

from xmoco_plugin.data import (
    LoadImageOrSkip,
    TooManyUnreadableError,
    UnlabeledFolder,
    UnreadableImageError,
)

from .encoders import encode, scene, write_bad_files, write_odd_files

META = ("sample_idx", "img_path", "ori_shape", "skipped")


def views(side: int = 16, backend: str = "pillow") -> list[dict]:
    """The two views of mmpretrain's MoCo v2, small, as configs write them."""
    view = [
        dict(type="RandomResizedCrop", scale=side, crop_ratio_range=(0.2, 1.0), backend=backend),
        dict(
            type="RandomApply",
            transforms=[
                dict(type="ColorJitter", brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1)
            ],
            prob=0.8,
        ),
        dict(
            type="RandomGrayscale",
            prob=0.2,
            keep_channels=True,
            channel_weights=(0.114, 0.587, 0.2989),
        ),
        dict(type="GaussianBlur", magnitude_range=(0.1, 2.0), magnitude_std="inf", prob=0.5),
        dict(type="RandomFlip", prob=0.5),
    ]
    return [
        dict(type="MultiView", num_views=2, transforms=[view]),
        dict(type="PackInputs", meta_keys=META),
    ]


@pytest.fixture(autouse=True)
def _scope():
    init_default_scope("mmpretrain")


def write_good(folder, count: int) -> None:
    for number in range(count):
        (folder / f"good{number:02}.png").write_bytes(encode(scene(seed=number), "PNG"))


def test_it_is_built_by_name_and_adds_image_and_shapes(tmp_path):
    write_good(tmp_path, 1)
    transform = TRANSFORMS.build(dict(type="LoadImageOrSkip"))
    results = transform(dict(img_path=tmp_path / "good00.png"))
    np.testing.assert_array_equal(results["img"], scene()[:, :, ::-1])
    assert results["img_shape"] == results["ori_shape"] == (48, 64)
    assert "skipped" not in results


def test_it_reads_through_mmengines_file_backends(tmp_path):
    write_good(tmp_path, 1)
    transform = LoadImageOrSkip(backend_args=dict(backend="local"))
    assert transform(dict(img_path=str(tmp_path / "good00.png")))["img"].shape == (48, 64, 3)


def test_an_image_in_memory_passes_as_it_is():
    image = scene()
    results = LoadImageOrSkip()(dict(img=image, gt_label=3))
    assert results["img"] is image


def test_the_next_good_sample_carries_what_was_skipped_and_the_one_after_does_not(tmp_path):
    write_good(tmp_path, 2)
    reasons = write_bad_files(tmp_path)
    transform = LoadImageOrSkip()
    for name in reasons:
        assert transform(dict(img_path=str(tmp_path / name))) is None
    assert transform(dict(img_path=str(tmp_path / "gone.jpg"))) is None
    assert transform(dict(img_path=str(tmp_path))) is None
    skipped = transform(dict(img_path=str(tmp_path / "good00.png")))["skipped"]
    assert [path for path, _ in skipped] == [
        *(str(tmp_path / name) for name in reasons),
        str(tmp_path / "gone.jpg"),
        str(tmp_path),
    ]
    for (path, reason), word in zip(
        skipped, [*reasons.values(), "no such file", "folder"], strict=True
    ):
        assert word in reason, path
    assert "skipped" not in transform(dict(img_path=str(tmp_path / "good01.png")))


def test_failures_in_a_row_stop_and_one_good_image_starts_the_count_again(tmp_path):
    write_good(tmp_path, 1)
    (tmp_path / "empty.jpg").touch()
    good, bad = (dict(img_path=str(tmp_path / name)) for name in ("good00.png", "empty.jpg"))
    transform = LoadImageOrSkip(max_consecutive=3)
    for _ in range(4):
        assert transform(dict(bad)) is None
        assert transform(dict(bad)) is None
        assert transform(dict(good)) is not None
    transform(dict(bad))
    transform(dict(bad))
    with pytest.raises(TooManyUnreadableError, match=r"3 images in a row .*empty.jpg.*0 bytes"):
        transform(dict(bad))


def test_evaluation_raises_with_file_and_reason(tmp_path):
    (tmp_path / "empty.jpg").touch()
    with pytest.raises(UnreadableImageError, match=r"empty.jpg: the file is empty"):
        LoadImageOrSkip(on_error="raise")(dict(img_path=str(tmp_path / "empty.jpg")))


def test_a_wrong_backend_is_not_taken_for_a_bad_file(tmp_path):
    write_good(tmp_path, 1)
    transform = LoadImageOrSkip(backend_args=dict(backend="no such backend"))
    with pytest.raises(KeyError, match="no such backend"):
        transform(dict(img_path=str(tmp_path / "good00.png")))


@pytest.mark.parametrize(
    "arguments", [dict(on_error="ignore"), dict(max_consecutive=0), dict(bit_depth=32)]
)
def test_arguments_out_of_range_are_named(arguments):
    (name,) = arguments
    with pytest.raises(ValueError, match=name):
        LoadImageOrSkip(**arguments)


def test_its_errors_survive_the_way_out_of_a_loader_process():
    for kind in (TooManyUnreadableError, UnreadableImageError):
        assert str(pickle.loads(pickle.dumps(kind("why")))) == "why"


@pytest.mark.parametrize("workers", [0, 2])
def test_a_folder_of_every_bad_and_odd_file_trains_on_the_readable_ones(tmp_path, workers):
    write_good(tmp_path, 4)
    bad = set(write_bad_files(tmp_path))
    good = {f"good{number:02}.png" for number in range(4)} | set(write_odd_files(tmp_path))
    dataset = UnlabeledFolder(str(tmp_path), pipeline=[dict(type="LoadImageOrSkip"), *views()])
    assert len(dataset) == len(bad) + len(good)
    loader = DataLoader(
        dataset,
        batch_size=5,
        num_workers=workers,
        collate_fn=default_collate,
        persistent_workers=workers > 0,
    )
    used, skipped = set(), set()
    for _ in range(2):
        for batch in loader:
            assert [view.shape[1:] for view in batch["inputs"]] == [(3, 16, 16)] * 2
            for sample in batch["data_samples"]:
                used.add(sample.img_path.rsplit("/")[-1])
                skipped |= {path.rsplit("/")[-1] for path, _ in sample.get("skipped", ())}
    assert used == good
    assert skipped == bad


def test_nothing_but_bad_files_ends_a_loader_process_with_the_reason(tmp_path):
    write_bad_files(tmp_path)
    dataset = UnlabeledFolder(str(tmp_path), pipeline=[dict(type="LoadImageOrSkip"), *views()])
    # Of what is drawn, the worker gets its seed from here: one draw in 1,500 lacks a file.
    seed = torch.Generator().manual_seed(0)
    loader = DataLoader(
        dataset, batch_size=2, num_workers=1, collate_fn=default_collate, generator=seed
    )
    with pytest.raises(TooManyUnreadableError, match=r"50 images in a row .*6 different files"):
        next(iter(loader))


@pytest.mark.parametrize("backend", ["pillow", "cv2"])
@pytest.mark.parametrize("size", [(1, 1), (1, 2), (2, 1), (2, 2), (1, 300), (300, 1)])
def test_mmpretrains_moco_views_take_images_down_to_one_pixel(size, backend):
    np.random.seed(0)
    steps = [TRANSFORMS.build(step) for step in views(backend=backend)]
    for seed in range(10):
        results = LoadImageOrSkip()(dict(img=scene(*size, seed)))
        for step in steps:
            results = step(results)
        assert [view.shape for view in results["inputs"]] == [(3, 16, 16)] * 2


def test_a_tiff_of_many_channels_that_comes_as_bytes_is_not_read_as_colour(tmp_path):
    pytest.importorskip("tifffile")
    from .tiffs import noise, write

    content = write(tmp_path / "a.tif", noise(8, 8, 5), planar=True).read_bytes()
    picture = write(tmp_path / "b.tif", noise(8, 8, 3)).read_bytes()
    load = LoadImageOrSkip(on_error="raise")
    assert load(dict(img_path="b", img_bytes=picture))["img"].shape == (8, 8, 3)
    with pytest.raises(UnreadableImageError, match="of uint8: --channels 5 of pretrain reads them"):
        load(dict(img_path="a", img_bytes=content))
