# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import multiprocessing
import os
import pickle
from pathlib import Path

import cv2
import numpy as np
import pytest
from mmengine.dataset import default_collate
from mmpretrain.registry import DATASETS
from torch.utils.data import DataLoader

from xmoco_plugin.data import PackError, PackOptions, decode_image, pack_writer, write_pack
from xmoco_plugin.data.pack import Pack, partial_of

LOAD = [dict(type="LoadImageOrSkip")]
PACK = [dict(type="PackInputs", meta_keys=("img_path", "skipped"))]


@pytest.fixture
def folder(tmp_path) -> Path:
    """Two classes of four JPEGs of unlike sizes, one name outside ASCII."""
    rng = np.random.default_rng(0)
    for i, name in enumerate(
        ["b/x1", "b/x2", "a/y1", "a/ü 2", "b/x3", "a/deep/y3", "b/x4", "a/y4"]
    ):
        noise = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
        image = cv2.resize(noise, (60 + 4 * i, 40), interpolation=cv2.INTER_CUBIC)
        file = tmp_path / "photos" / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(cv2.imencode(".jpg", image)[1].tobytes())
    return tmp_path / "photos"


def names_of(folder: Path) -> list[str]:
    return sorted(str(file.relative_to(folder)) for file in folder.rglob("*.jpg"))


def dataset(path, pipeline=LOAD, **options):
    return DATASETS.build(
        dict(type="PackedImages", data_root=str(path), pipeline=pipeline, **options)
    )


@pytest.mark.parametrize("kind", ["encoded", "raw"])
def test_a_pack_reads_as_the_folder_does_pixels_names_and_labels(folder, tmp_path, kind):
    assert write_pack(folder, tmp_path / "pack", PackOptions(kind)) == []
    packed = dataset(tmp_path / "pack")
    assert [packed[i]["img_path"] for i in range(len(packed))] == names_of(folder)
    assert packed.metainfo["classes"] == ("a", "b")
    for i, name in enumerate(names_of(folder)):
        sample = packed[i]
        assert np.array_equal(sample["img"], decode_image((folder / name).read_bytes()))
        assert sample["img_shape"] == sample["img"].shape[:2]
        assert packed.metainfo["classes"][sample["gt_label"]] == name.split("/")[0]
    assert packed.get_gt_labels().tolist() == [0] * 4 + [1] * 4
    assert packed.get_cat_ids(7) == [1]


def test_encoded_files_are_kept_byte_for_byte(folder, tmp_path):
    write_pack(folder, tmp_path / "pack")
    pack = Pack(tmp_path / "pack")
    for row, name in enumerate(names_of(folder)):
        assert bytes(pack.content(row)) == (folder / name).read_bytes()


@pytest.mark.parametrize("kind", ["encoded", "raw"])
def test_a_shorter_side_shrinks_what_is_larger_and_nothing_else(folder, tmp_path, kind):
    small = folder / "a" / "small.jpg"
    small.write_bytes(cv2.imencode(".jpg", np.full((20, 90, 3), 128, np.uint8))[1].tobytes())
    write_pack(folder, tmp_path / "pack", PackOptions(kind, shorter_side=30))
    packed = dataset(tmp_path / "pack")
    shapes = {
        sample["img_path"]: sample["img"].shape for sample in map(packed.__getitem__, range(9))
    }
    assert shapes.pop("a/small.jpg") == (20, 90, 3)
    assert {shape[0] for shape in shapes.values()} == {30}
    assert shapes["b/x1.jpg"] == (30, 45, 3)


def test_an_image_in_the_folder_itself_means_that_there_are_no_labels(folder, tmp_path):
    (folder / "loose.jpg").write_bytes((folder / "b" / "x1.jpg").read_bytes())
    write_pack(folder, tmp_path / "pack")
    packed = dataset(tmp_path / "pack")
    assert "gt_label" not in packed[0]
    assert "classes" not in packed.metainfo


def die_after(images: int, folder: Path, out: Path) -> None:
    original, count = pack_writer._encode, iter(range(10**9))
    pack_writer.SYNC_EVERY = 2

    def encode(*args):
        if next(count) == images:
            os._exit(9)
        return original(*args)

    pack_writer._encode = encode
    write_pack(folder, out)


def killed(images: int, folder: Path, out: Path) -> None:
    """Packs in a process that dies in the middle, with what it had not flushed."""
    process = multiprocessing.get_context("fork").Process(
        target=die_after, args=(images, folder, out)
    )
    process.start()
    process.join()
    assert process.exitcode == 9


def test_after_kills_it_goes_on_and_the_pack_is_that_of_one_go(folder, tmp_path, monkeypatch):
    out = tmp_path / "pack"
    killed(5, folder, out)
    assert not out.exists()
    with pytest.raises(PackError, match=r"not finished: run the same pack command again"):
        Pack(out)
    killed(2, folder, out)
    looked_at = []
    original = pack_writer._encode
    monkeypatch.setattr(
        pack_writer, "_encode", lambda f, *o: looked_at.append(f.name) or original(f, *o)
    )
    write_pack(folder, out)
    assert looked_at == ["x3.jpg", "x4.jpg"]  # 4 + 2 were safe
    write_pack(folder, tmp_path / "one_go")
    for name in ("data.bin", "names.bin", "records.npy", "pack.json"):
        assert (out / name).read_bytes() == (tmp_path / "one_go" / name).read_bytes(), name
    assert sorted(f.name for f in out.iterdir()) == [
        "data.bin",
        "names.bin",
        "pack.json",
        "records.npy",
    ]
    looked_at.clear()
    write_pack(folder, out)  # whole already
    assert looked_at == []


@pytest.mark.parametrize("damage", ["zeros", "cut data", "cut record"])
def test_what_a_loss_of_power_left_half_written_is_written_again(folder, tmp_path, damage):
    out = tmp_path / "pack"
    killed(5, folder, out)
    data, journal = partial_of(out) / "data.bin", partial_of(out) / "journal.bin"
    if damage == "zeros":
        whole = data.read_bytes()
        data.write_bytes(whole[:-100] + bytes(100))
        journal.write_bytes(journal.read_bytes() + bytes(80))
    else:
        file = data if damage == "cut data" else journal
        os.truncate(file, file.stat().st_size - 3)
    write_pack(folder, out)
    pack = Pack(out)
    assert len(pack) == 8
    assert all(
        bytes(pack.content(i)) == (folder / n).read_bytes() for i, n in enumerate(names_of(folder))
    )
    assert all(pack.is_whole(i) for i in range(8))


def test_another_data_set_or_other_options_are_not_mixed_in(folder, tmp_path):
    out = tmp_path / "pack"
    killed(5, folder, out)
    with pytest.raises(PackError, match="begun from other images or with other options"):
        write_pack(folder, out, PackOptions("raw"))
    extra = folder / "a" / "new.jpg"
    extra.write_bytes(b"x")
    with pytest.raises(PackError, match="begun from other images"):
        write_pack(folder, out)
    extra.unlink()
    write_pack(folder, out)
    extra.write_bytes(b"x")
    with pytest.raises(PackError, match="exists and is no pack of"):
        write_pack(folder, out)


def test_damaged_bytes_are_an_unreadable_image_that_is_skipped_and_named(folder, tmp_path):
    write_pack(folder, tmp_path / "pack", PackOptions("raw"))
    data = tmp_path / "pack" / "data.bin"
    content = bytearray(data.read_bytes())
    content[10] ^= 255
    data.write_bytes(content)
    np.random.seed(0)
    sample = dataset(tmp_path / "pack", [*LOAD, *PACK], verify=True)[0]["data_samples"]
    assert sample.img_path != names_of(folder)[0]
    assert sample.skipped[0][0] == names_of(folder)[0]
    assert "do not have their checksum" in sample.skipped[0][1]


def test_an_unreadable_file_is_skipped_when_encoded_and_left_out_when_raw(folder, tmp_path):
    (folder / "a" / "bad.jpg").write_bytes(b"\xff\xd8\xff cut")
    assert write_pack(folder, tmp_path / "encoded") == []
    packed = dataset(tmp_path / "encoded", [*LOAD, *PACK])
    np.random.seed(0)
    assert packed[0]["data_samples"].skipped[0][0] == "a/bad.jpg"
    left_out = write_pack(folder, tmp_path / "raw", PackOptions("raw"))
    assert [name for name, _ in left_out] == ["a/bad.jpg"]
    assert len(dataset(tmp_path / "raw")) == 8


def test_a_worker_holds_no_list_and_is_sent_no_pixels(folder, tmp_path):
    write_pack(folder, tmp_path / "pack")
    packed = dataset(tmp_path / "pack", indices=[7, 0])
    assert isinstance(packed.data_list, np.ndarray)
    assert [packed[i]["img_path"] for i in (0, 1)] == [names_of(folder)[i] for i in (7, 0)]
    assert len(dataset(tmp_path / "pack", indices=3)) == 3
    assert len(pickle.dumps(packed.pack)) < 500
    crop = dict(type="RandomResizedCrop", scale=16)
    loader = DataLoader(
        dataset(tmp_path / "pack", [*LOAD, crop, dict(type="PackInputs")]),
        batch_size=8,
        num_workers=1,
        multiprocessing_context="fork",
        collate_fn=default_collate,
    )
    assert next(iter(loader))["inputs"].shape == (8, 3, 16, 16)


def test_a_missing_or_cut_pack_is_named_with_the_way_out(folder, tmp_path):
    with pytest.raises(PackError, match=r"make one with xmoco pack pack"):
        dataset(tmp_path / "nothing")
    write_pack(folder, tmp_path / "pack")
    os.truncate(tmp_path / "pack" / "data.bin", 100)
    with pytest.raises(PackError, match=r"data\.bin holds 100 bytes where pack.json says"):
        dataset(tmp_path / "pack")


def test_options_out_of_their_range_are_named():
    for options, message in (
        (dict(kind="tar"), "'tar'"),
        (dict(shorter_side=0), "shorter_side is 0"),
        (dict(quality=101), "quality is 101"),
    ):
        with pytest.raises(PackError, match=message):
            PackOptions(**options)
