# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
import socket
import subprocess
from pathlib import Path

import pytest
from mmpretrain.registry import DATASETS

from xmoco_plugin.data import LabelledFolder, LoadImageOrSkip, UnlabeledFolder
from xmoco_plugin.untrusted import FolderError


def fill(root, names) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def paths(dataset, root) -> list[str]:
    return [os.path.relpath(dataset[i]["img_path"], root) for i in range(len(dataset))]


def test_every_format_at_every_depth_in_any_case_sorted(tmp_path):
    names = [
        *("z.jpg", "a.JPEG", "b/c/d/e.png", "b/c.jpe", "b/x.WebP", "ä ö.bmp", "f.TIF"),
        *("g.tiff", "h.gif", "i.ppm", "j.pgm", "k.avif", "b.c/l.Jpg"),
    ]
    fill(tmp_path, [*names, "notes.txt", "b/labels.csv", "jpg", "m.jpg.part"])
    dataset = DATASETS.build(dict(type="UnlabeledFolder", data_root=str(tmp_path)))
    assert paths(dataset, tmp_path) == sorted(names)
    assert "gt_label" not in dataset[0]
    assert dataset.CLASSES is None


def test_the_order_does_not_depend_on_the_order_of_creation(tmp_path):
    names = [f"{n % 3}/{n}.jpg" for n in range(12)]
    fill(tmp_path / "one", names)
    fill(tmp_path / "two", reversed(names))
    one, two = (
        paths(UnlabeledFolder(str(tmp_path / name)), tmp_path / name) for name in ("one", "two")
    )
    assert one == two


def test_hidden_files_and_folders_are_left_out(tmp_path):
    hidden = ["._a.jpg", ".DS_Store", ".thumbnails/a.jpg", "b/.ipynb_checkpoints/a.png"]
    fill(tmp_path, ["a.jpg", *hidden])
    assert paths(UnlabeledFolder(str(tmp_path)), tmp_path) == ["a.jpg"]


def test_a_linked_folder_is_followed_once_and_a_loop_ends(tmp_path):
    fill(tmp_path, ["root/a/1.jpg", "elsewhere/2.jpg"])
    root = tmp_path / "root"
    (root / "b").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "c").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (root / "a" / "up").symlink_to(root, target_is_directory=True)
    assert paths(UnlabeledFolder(str(root)), root) == ["a/1.jpg", "b/2.jpg"]


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nowhere does not exist: check data_root"):
        UnlabeledFolder(str(tmp_path / "nowhere"))
    with pytest.raises(ValueError, match="needs data_root"):
        UnlabeledFolder()


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    fill(tmp_path, ["images.zip"])
    with pytest.raises(NotADirectoryError, match=r"images\.zip is a file, not a folder"):
        UnlabeledFolder(str(tmp_path / "images.zip"))


def test_a_folder_without_images_says_what_it_holds(tmp_path):
    with pytest.raises(FileNotFoundError, match="it holds no files"):
        UnlabeledFolder(str(tmp_path))
    fill(tmp_path, [*(f"{n}.txt" for n in range(3)), "d/a.csv", "d/README"])
    with pytest.raises(
        FileNotFoundError,
        match=r"5 files, none with an image extension: \.txt 3, (\.csv 1|no extension 1)",
    ):
        UnlabeledFolder(str(tmp_path))


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root reads everything")
def test_a_subfolder_that_may_not_be_read_is_an_error(tmp_path):
    fill(tmp_path, ["a.jpg", "locked/b.jpg"])
    (tmp_path / "locked").chmod(0)
    try:
        with pytest.raises(FolderError, match=r"no permission to read .*locked"):
            UnlabeledFolder(str(tmp_path))
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_other_extensions_can_be_asked_for(tmp_path):
    fill(tmp_path, ["a.jpg", "b.jfif"])
    assert paths(UnlabeledFolder(str(tmp_path), extensions=(".JFIF",)), tmp_path) == ["b.jfif"]


def make_odd(root) -> dict[str, str]:
    """Things with an image's name that are no images, below a class's folder; what they are."""
    fill(root, ["a/good.jpg", "a/album.png/inside.jpg", "b/good.jpg"])
    os.mkfifo(root / "a" / "pipe.jpg")
    (root / "a" / "zero.jpg").symlink_to("/dev/zero")
    (root / "a" / "loop.jpg").symlink_to("loop.jpg")
    (root / "a" / "gone.jpg").symlink_to("nowhere.jpg")
    (root / "a" / "folder.jpg").mkdir()
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(os.path.relpath(root / "a" / "socket.jpg"))
    return {
        "a/folder.jpg": "a folder",
        "a/gone.jpg": "a link to a file that does not exist",
        "a/loop.jpg": "Too many levels of symbolic links",
        "a/pipe.jpg": "a named pipe",
        "a/socket.jpg": "a socket",
        "a/zero.jpg": "a device",
    }


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["UnlabeledFolder", "LabelledFolder"])
def test_what_has_an_images_name_and_is_no_file_is_listed_and_named_when_it_is_read(tmp_path, kind):
    odd = make_odd(tmp_path)
    read = LoadImageOrSkip(max_consecutive=100)
    found = DATASETS.build(dict(type=kind, data_root=str(tmp_path)))
    good = ["a/album.png/inside.jpg", "a/good.jpg", "b/good.jpg"]
    assert paths(found, tmp_path) == sorted([*good, *odd])
    for name in [*good, *odd]:
        assert read(dict(img_path=str(tmp_path / name))) is None
    reasons = {os.path.relpath(path, tmp_path): reason for path, reason in read._skipped}
    assert dict.fromkeys(good, "0 bytes").keys() <= reasons.keys()
    assert {name: word for name, word in odd.items() if word not in reasons[name]} == {}


def test_a_folder_deeper_than_python_calls_is_walked(tmp_path):
    here = os.getcwd()
    try:
        os.chdir(tmp_path)
        for _ in range(1100):
            os.mkdir("d")
            os.chdir("d")
        fill(Path(), ["a.jpg"])
        assert UnlabeledFolder(str(tmp_path))[0]["img_path"].endswith("d/d/a.jpg")
    finally:
        os.chdir(here)
        # pytest's own clearing calls itself for every level
        subprocess.run(["rm", "-rf", str(tmp_path / "d")], check=True)


def test_labels_are_the_folders_of_the_first_level_and_loose_images_are_said(tmp_path):
    fill(tmp_path, ["b/1.webp", "b/deep/2.JPG", "a/3.gif", ".git/4.png", "b/.5.png", "6.png"])
    (tmp_path / "c").mkdir()
    found = LabelledFolder(data_root=str(tmp_path))
    assert found.metainfo["classes"] == ("a", "b", "c")
    assert [(os.path.relpath(d["img_path"], tmp_path), d["gt_label"]) for d in found] == [
        *(("a/3.gif", 0), ("b/1.webp", 1), ("b/deep/2.JPG", 1))
    ]
    with pytest.raises(ValueError, match="3 folders for 2 classes"):
        LabelledFolder(data_root=str(tmp_path), classes=["a", "b"])


def test_labelled_images_without_a_folder_for_each_class_are_an_error(tmp_path):
    fill(tmp_path, ["1.png"])
    with pytest.raises(ValueError, match="no folder in it, and each class needs one"):
        LabelledFolder(data_root=str(tmp_path))
