# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Folders, lists, archives and images as data."""

import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from pathlib import Path

import pytest

from xmoco_plugin.pretraining import PretrainError, check_source, list_images

from .folder import draw


def test_several_folders_and_an_image_are_listed_once_each_in_their_order(tmp_path):
    one, two = draw(tmp_path / "one" / "deep" / "er", 2), draw(tmp_path / "two", 1)
    (tmp_path / "two" / "notes.txt").write_text("no image")
    image = str(two / "000.png")
    found = list_images([str(tmp_path / "one"), image, str(two)], tmp_path / "unpacked")
    assert found == [str(one / "000.png"), str(one / "001.png"), image]


def test_a_linked_folder_is_followed(tmp_path):
    draw(tmp_path / "real", 2)
    (tmp_path / "data").mkdir()
    os.symlink(tmp_path / "real", tmp_path / "data" / "link")
    found = list_images([str(tmp_path / "data")], tmp_path / "unpacked")
    assert [os.path.basename(path) for path in found] == ["000.png", "001.png"]


def test_a_list_names_files_relative_to_itself(tmp_path):
    folder = draw(tmp_path / "images", 2)
    listed = tmp_path / "list.txt"
    listed.write_text(f"images/001.png\n\n{folder}/000.png\n")
    found = list_images([str(listed)], tmp_path / "unpacked")
    assert found == [str(folder / "001.png"), str(folder / "000.png")]


def test_a_list_with_a_missing_file_names_the_line(tmp_path):
    draw(tmp_path / "images", 1)
    listed = tmp_path / "list.txt"
    listed.write_text("images/000.png\nimages/gone.png\n")
    with pytest.raises(PretrainError, match=r"list.txt, line 2: there is no file .*gone.png"):
        list_images([str(listed)], tmp_path)


@pytest.mark.parametrize("ending", ["zip", "tar", "tar.gz"])
def test_an_archive_is_unpacked_once_and_again_when_it_changes(tmp_path, ending):
    draw(tmp_path / "images" / "in", 3)
    (tmp_path / "images" / "notes.md").write_text("stays in the archive")
    kind = {"tar.gz": "gztar"}.get(ending, ending)
    archive = shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "images")
    found = list_images([archive], tmp_path / "out")
    assert [os.path.basename(path) for path in found] == ["000.png", "001.png", "002.png"]
    assert not list((tmp_path / "out").rglob("notes.md"))
    before = os.stat(found[0]).st_mtime_ns, os.stat(found[0]).st_ino
    assert list_images([archive], tmp_path / "out") == found
    assert (os.stat(found[0]).st_mtime_ns, os.stat(found[0]).st_ino) == before
    draw(tmp_path / "images" / "in", 4)
    shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "images")
    assert len(list_images([archive], tmp_path / "out")) == 4


def test_an_archive_cannot_write_outside_its_folder(tmp_path):
    image = draw(tmp_path / "images", 1) / "000.png"
    with tarfile.open(tmp_path / "evil.tar", "w") as file:
        file.add(image, "../../escaped.png")
        file.add(image, f"{tmp_path}/rooted.png")
        file.add(image, "good.png")
    found = list_images([str(tmp_path / "evil.tar")], tmp_path / "out" / "unpacked")
    (inside,) = (p for p in (tmp_path / "out" / "unpacked").iterdir() if p.is_dir())
    assert all(path.startswith(str(inside)) for path in found)
    assert len(found) == 2
    assert not list(tmp_path.rglob("escaped.png"))
    assert not (tmp_path / "rooted.png").exists()


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_a_damaged_archive_is_named_and_leaves_nothing(tmp_path, ending):
    (tmp_path / f"bad.{ending}").write_bytes(b"not an archive" * 100)
    with pytest.raises(PretrainError, match="cannot be unpacked"):
        list_images([str(tmp_path / f"bad.{ending}")], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("kind", ["gztar", "xztar", "zip"])
def test_an_archive_that_ends_in_the_middle_is_named_and_leaves_nothing(tmp_path, kind):
    draw(tmp_path / "images", 3)
    archive = Path(shutil.make_archive(str(tmp_path / "set"), kind, tmp_path / "images"))
    content = archive.read_bytes()
    archive.write_bytes(content[: len(content) // 2])
    with pytest.raises(PretrainError, match="cannot be unpacked"):
        list_images([str(archive)], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


@pytest.mark.parametrize("error", [zlib.error("bad block"), lzma.LZMAError("corrupt input")])
def test_what_a_decompressor_says_of_damage_is_handed_on(tmp_path, monkeypatch, error):
    draw(tmp_path / "images", 1)
    archive = shutil.make_archive(str(tmp_path / "set"), "tar", tmp_path / "images")

    def damaged(*_, **__):
        raise error

    monkeypatch.setattr(tarfile.TarFile, "extractfile", damaged)
    with pytest.raises(PretrainError, match=f"cannot be unpacked: {error}"):
        list_images([archive], tmp_path / "out")
    assert list((tmp_path / "out").iterdir()) == []


def test_archives_of_one_name_do_not_meet(tmp_path):
    for number, folder in enumerate("ab"):
        draw(tmp_path / folder / "images", 2 + number, seed=number)
        (tmp_path / "sets" / folder).mkdir(parents=True)
        shutil.make_archive(
            str(tmp_path / "sets" / folder / "train"), "tar", tmp_path / folder / "images"
        )
    archives = [str(tmp_path / "sets" / folder / "train.tar") for folder in "ab"]
    found = list_images(archives, tmp_path / "out")
    assert len(found) == 5
    assert all(os.path.isfile(path) for path in found)


def test_an_archive_without_images_is_named(tmp_path):
    with zipfile.ZipFile(tmp_path / "texts.zip", "w") as file:
        file.writestr("a.txt", "text")
    with pytest.raises(PretrainError, match="holds no image"):
        list_images([str(tmp_path / "texts.zip")], tmp_path / "out")


def test_what_cannot_be_data_is_said_in_a_sentence(tmp_path):
    (tmp_path / "table.csv").write_text("a,b")
    assert "no such file or folder" in str(check_source(str(tmp_path / "gone")))
    assert "ends in none of them" in str(check_source(str(tmp_path / "table.csv")))
    assert check_source(str(tmp_path)) is None
