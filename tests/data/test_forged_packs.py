# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Packs that a stranger made, and what is no image in a folder that is packed."""

import os
from pathlib import Path

import numpy as np
import pytest

from xmoco_plugin.data import Pack, PackError, PackOptions, write_pack

from .encoders import encode, scene


@pytest.fixture
def folder(tmp_path) -> Path:
    for i, name in enumerate(("a/0", "a/1", "b/2", "b/3")):
        file = tmp_path / "photos" / f"{name}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(encode(scene(40, 88 if i == 3 else 60), "JPEG"))
    return tmp_path / "photos"


PACK_JSON = {
    "a list": b"[]",
    "null": b"null",
    "nested": b"[" * 100_000,
    "not finite": b'{"format": NaN}',
    "classes": b'{"format": 1, "kind": "encoded", "classes": 3, "images": 8}',
    "kind": b'{"format": 1, "kind": ["raw"], "classes": []}',
}


@pytest.mark.parametrize("content", PACK_JSON.values(), ids=PACK_JSON)
def test_facts_that_are_none_are_one_sentence(folder, tmp_path, content):
    write_pack(folder, tmp_path / "pack")
    (tmp_path / "pack" / "pack.json").write_bytes(content)
    with pytest.raises(PackError, match=r"pack\.json is damaged.*: pack the folder again"):
        Pack(tmp_path / "pack")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        *(("offset", 2**64 - 1), ("offset", 10**6), ("length", 2**64 - 8), ("name", 10**9)),
        *(("label", 99), ("label", -2), ("height", 2**32 - 1)),
    ],
)
def test_records_that_lead_outside_are_refused_when_the_pack_is_opened(
    folder, tmp_path, key, value
):
    write_pack(folder, tmp_path / "pack", PackOptions("raw"))
    records = np.load(tmp_path / "pack" / "records.npy")
    records[key][3] = value
    np.save(tmp_path / "pack" / "records.npy", records)
    with pytest.raises(PackError, match="record 3 leads outside"):
        Pack(tmp_path / "pack")


@pytest.mark.timeout(60)
@pytest.mark.parametrize("name", ["pack.json", "records.npy", "names.bin", "data.bin"])
def test_a_pipe_in_the_place_of_a_packs_file_is_named(folder, tmp_path, name):
    write_pack(folder, tmp_path / "pack")
    (tmp_path / "pack" / name).unlink()
    os.mkfifo(tmp_path / "pack" / name)
    with pytest.raises(PackError, match="a named pipe"):
        Pack(tmp_path / "pack")


def test_an_archive_in_the_place_of_the_records_is_refused(folder, tmp_path):
    write_pack(folder, tmp_path / "pack")
    np.savez(tmp_path / "records.npz", a=np.zeros(3))
    os.replace(tmp_path / "records.npz", tmp_path / "pack" / "records.npy")
    with pytest.raises(PackError, match=r"records\.npy is no list"):
        Pack(tmp_path / "pack")


@pytest.mark.timeout(60)
def test_what_is_no_image_is_not_packed_and_is_named(folder, tmp_path):
    os.mkfifo(folder / "a" / "pipe.jpg")
    (folder / "a" / "gone.jpg").symlink_to("nowhere.jpg")
    (folder / "a" / "post.jpg").write_bytes(b"%!PS-Adobe-3.0\nshowpage\n")
    (folder / "a" / "folder.jpg").mkdir()
    left_out = dict(write_pack(folder, tmp_path / "pack"))
    assert left_out["a/pipe.jpg"] == "not a regular file: a named pipe"
    assert left_out["a/gone.jpg"] == "a link to a file that does not exist"
    assert left_out["a/folder.jpg"] == "not a regular file: a folder"
    assert left_out["a/post.jpg"].startswith("PostScript, not one of the formats read")
    pack = Pack(tmp_path / "pack")
    assert [pack.name(i) for i in range(len(pack))] == ["a/0.jpg", "a/1.jpg", "b/2.jpg", "b/3.jpg"]


def test_images_above_the_limit_are_left_out_of_a_raw_pack(folder, tmp_path):
    left_out = write_pack(folder, tmp_path / "raw", PackOptions("raw"), max_pixels=3000)
    assert [name for name, _ in left_out] == ["b/3.jpg"]
    assert "88x40 px is above the limit of 3000 pixels" in left_out[0][1]
