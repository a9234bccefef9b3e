# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os

import pytest
from mmpretrain.registry import DATASETS

from xmoco_plugin.data import UnlabeledFolder


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
        with pytest.raises(PermissionError, match="locked"):
            UnlabeledFolder(str(tmp_path))
    finally:
        (tmp_path / "locked").chmod(0o755)


def test_other_extensions_can_be_asked_for(tmp_path):
    fill(tmp_path, ["a.jpg", "b.jfif"])
    assert paths(UnlabeledFolder(str(tmp_path), extensions=(".JFIF",)), tmp_path) == ["b.jfif"]
