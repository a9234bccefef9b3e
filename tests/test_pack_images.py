# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from functools import partial

import numpy as np
import pytest
from PIL import Image

from xmoco_plugin.data import Pack

from .tool_modules import import_tool, run_tool


@pytest.fixture
def run(monkeypatch):
    return partial(run_tool, import_tool("pack_images"), monkeypatch)


@pytest.fixture
def photos(tmp_path):
    for i in range(3):
        file = tmp_path / "photos" / f"class{i % 2}" / f"{i}.png"
        file.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(i).integers(0, 256, (8, 9 + i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(file)
    return tmp_path / "photos"


def test_pack_inspect_and_unpack_give_the_files_back(run, photos, tmp_path, capsys):
    (photos / "notes.txt").write_text("none of the images")
    assert run("pack", photos, tmp_path / "pack") == 0
    assert run("inspect", tmp_path / "pack", "--verify") == 0
    said, warned = capsys.readouterr()
    assert "no images: 1 file: .txt 1" in warned
    assert "3 images" in said
    assert "2 classes" in said
    assert "every checksum is right" in said
    assert run("unpack", tmp_path / "pack", tmp_path / "again") == 0
    for file in photos.rglob("*.png"):
        assert (tmp_path / "again" / file.relative_to(photos)).read_bytes() == file.read_bytes()
    assert run("unpack", tmp_path / "pack", tmp_path / "again") == 2


def test_shards_are_written_and_what_is_left_out_is_named(run, photos, tmp_path, capsys):
    (photos / "class1/broken.png").write_text("none")
    for _ in range(2):
        assert run("shards", photos, "--to", tmp_path / "set", "--shard-mb", 1) == 0
        said, warned = capsys.readouterr()
        assert "set: 3 images in 1 shards, 0.0 MB" in said
        assert warned.startswith("left out: class1/broken.png: not an image: the file is text")
    assert run("shards", photos / "class0", "--to", tmp_path / "set") == 2
    assert "holds a set of other images" in capsys.readouterr().err


def test_what_was_left_out_is_named_again_each_time(run, photos, tmp_path, capsys):
    (photos / "class1/broken.png").write_text("none")
    said = []
    for _ in range(2):
        assert run("pack", photos, tmp_path / "pack") == 0
        said.append(capsys.readouterr().err)
    assert said[0] == said[1]
    assert said[0].startswith("left out: class1/broken.png: not an image: the file is text")


def test_one_that_can_be_read_since_is_named_with_the_way_in(run, photos, tmp_path, capsys):
    file = photos / "class1/closed.png"
    file.write_bytes(bytes(9))
    run("pack", photos, tmp_path / "pack")
    file.write_bytes(b"\x89PNG\r\n\x1a\n\0")  # of the same size, or it would be another set
    capsys.readouterr()
    assert run("pack", photos, tmp_path / "pack") == 0
    said = capsys.readouterr().err
    assert said.startswith("left out: class1/closed.png: can be read by now: delete ")


def test_raw_images_are_unpacked_without_loss(run, photos, tmp_path):
    assert run("pack", photos, tmp_path / "pack", "--raw") == 0
    assert run("unpack", tmp_path / "pack", tmp_path / "again") == 0
    for file in photos.rglob("*.png"):
        copy = tmp_path / "again" / (str(file.relative_to(photos)) + ".png")
        assert np.array_equal(np.asarray(Image.open(copy)), np.asarray(Image.open(file)))


@pytest.mark.parametrize("name", ["../../x.png", "TMP/abc.png", "a/../../.png", "."])
def test_a_name_that_leads_out_of_the_folder_is_refused(run, photos, tmp_path, capsys, name):
    name = name.replace("TMP", str(tmp_path))
    run("pack", photos, tmp_path / "pack")
    pack = Pack(tmp_path / "pack")
    names = [pack.name(row) for row in range(3)]
    records = np.array(pack.records)
    records["name"][2] = len(f"{names[0]}\n{name}\n")
    np.save(tmp_path / "pack" / "records.npy", records)
    (tmp_path / "pack" / "names.bin").write_text(f"{names[0]}\n{name}\n{names[2]}\n")
    before = sorted(tmp_path.parent.rglob("*"))
    assert run("unpack", tmp_path / "pack", tmp_path / "again") == 2
    assert f"names a file {name!r}" in capsys.readouterr().err
    assert sorted(tmp_path.parent.rglob("*")) == before


def test_a_changed_byte_is_found_and_the_image_named(run, photos, tmp_path, capsys):
    run("pack", photos, tmp_path / "pack")
    data = tmp_path / "pack" / "data.bin"
    content = bytearray(data.read_bytes())
    content[-20] ^= 1
    data.write_bytes(content)
    assert run("inspect", tmp_path / "pack", "--verify") == 2
    assert "class1/1.png" in capsys.readouterr().err
    assert run("unpack", tmp_path / "pack", tmp_path / "again") == 2
