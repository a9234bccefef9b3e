# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One walk for all tools: what holds an image is one, whatever its name; hidden things are none."""

import os
import tarfile
import zipfile
from pathlib import Path

import pytest
from mmengine.registry import init_default_scope
from mmpretrain.registry import DATASETS

from xmoco_plugin.cli.embed import Images
from xmoco_plugin.data import LabelledFolder, UnlabeledFolder, labelled_sets, write_pack
from xmoco_plugin.data.pack import Pack
from xmoco_plugin.pretraining import check_source, knn_sets, list_images
from xmoco_plugin.pretraining.archives import unpack
from xmoco_plugin.pretraining.run_config import check_labels
from xmoco_plugin.untrusted import folders_in, walk, walk_images

from .encoders import encode, scene

JPEG, PNG, WEBP = (encode(scene(), kind) for kind in ("JPEG", "PNG", "WEBP"))
NAMES = {
    "a.jpg": JPEG,
    "b.jfif": JPEG,
    "c.JFIF": JPEG,
    "d": PNG,
    "e.bin": WEBP,
    "f.dat": encode(scene(), "BMP"),
    "g.x": encode(scene(), "PPM"),
    "h.jpg.part": JPEG,
    "i.png": b"",  # named so: reading it says what is wrong
}
OTHERS = {
    "BM.txt": b"BMW is a maker of cars, and BM begins a bitmap",
    "p.txt": b"P1 is the first part of the thesis",
    "labels.csv": b"a,b\n",
    "empty": b"",
    "film.mp4": b"\0\0\0\x18ftypmp42",
}
HIDDEN = [".x.jpg", ".git/a.png", "@eaDir/a.jpg", "__MACOSX/a.png", "lost+found/a.png", "Thumbs.db"]


@pytest.fixture
def folder(tmp_path) -> Path:
    root = tmp_path / "images"
    for name, content in [*NAMES.items(), *OTHERS.items(), *((name, JPEG) for name in HIDDEN)]:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(content)
    return root


def test_contents_decide_where_names_do_not_and_what_is_none_is_counted(folder):
    assert walk_images(folder) == (sorted(NAMES), sorted(OTHERS))
    notes: list[str] = []
    found = list_images([str(folder)], folder / "unpacked", notes=notes)
    assert sorted(map(os.path.basename, found)) == sorted(NAMES)
    words = f"passed over in {folder}, no images: 5 files: .txt 2, "
    assert notes[0].startswith(words)
    assert ".mp4 1" in notes[0]


def test_every_tool_finds_the_same_images(folder, tmp_path):
    init_default_scope("mmpretrain")
    assert len(UnlabeledFolder(str(folder))) == len(NAMES)
    assert sorted(Images(str(folder), 32).names) == sorted(NAMES)
    left_out = write_pack(folder, tmp_path / "pack")
    assert [name for name, _ in left_out] == ["i.png"]
    assert len(Pack(tmp_path / "pack")) == len(NAMES) - 1
    (tmp_path / "labels").mkdir()
    folder.rename(tmp_path / "labels/one")
    assert len(LabelledFolder(data_root=str(tmp_path / "labels"))) == len(NAMES)
    # Endings that are asked for decide alone.
    folder = tmp_path / "labels/one"
    assert len(UnlabeledFolder(str(folder), extensions=(".jfif",))) == 2


@pytest.mark.parametrize("kind", ["zip", "tar"])
def test_an_archive_is_read_by_contents_too(folder, tmp_path, kind):
    archive = tmp_path / f"images.{kind}"
    if kind == "zip":
        with zipfile.ZipFile(archive, "w") as made:
            for file in sorted(p for p in folder.rglob("*") if p.is_file()):
                made.write(file, file.relative_to(folder))
    else:
        with tarfile.open(archive, "w") as made:
            made.add(folder, "images")
    found = unpack(archive, tmp_path / "out")
    held = {p.name: p.read_bytes() for p in found.folder.rglob("*") if p.is_file()}
    assert held == NAMES
    assert "files that are no images 5" in found.note
    assert f"hidden files {len(HIDDEN)}" in found.note


def test_a_single_image_of_any_name_is_data(folder):
    assert check_source(str(folder / "d")) is None
    assert "and it holds no image" in (check_source(str(folder / "labels.csv")) or "")


def test_of_a_million_labels_not_all_are_opened(folder, monkeypatch):
    opened = []
    real = walk.holds_image
    monkeypatch.setattr(walk, "LOOKED_AT", 3)
    monkeypatch.setattr(walk, "holds_image", lambda path: opened.append(path) or real(path))
    for number in range(9):
        (folder / f"{number}.xml").write_text("<a/>")
    images, others = walk_images(folder)
    assert sum(str(path).endswith(".xml") for path in opened) == 3
    assert (len(images), len(others)) == (len(NAMES), len(OTHERS) + 9)


@pytest.fixture
def split(tmp_path) -> Path:
    """Three classes in train/, of which val/ lacks the first; each has a hidden neighbour."""
    for stage, classes in (("train", "abc"), ("val", "bc")):
        for name in classes:
            (tmp_path / "set" / stage / name).mkdir(parents=True)
            (tmp_path / "set" / stage / name / "0.webp").write_bytes(WEBP)
        (tmp_path / "set" / stage / ".ipynb_checkpoints").mkdir()
    return tmp_path / "set"


def by_name(dataset) -> dict[str, int]:
    return {os.path.basename(os.path.dirname(d["img_path"])): d["gt_label"] for d in dataset}


def test_a_class_has_one_number_in_train_and_val_though_val_lacks_one(split):
    assert check_labels(str(split)) is None
    for sets in (knn_sets(str(split), 32), labelled_sets(split)[:2]):
        train, val = (DATASETS.build({**data, "pipeline": []}) for data in sets)
        assert by_name(train) == dict(a=0, b=1, c=2)
        assert by_name(val) == dict(b=1, c=2)
        assert val.counts == dict(a=0, b=1, c=1)


def test_a_class_of_val_alone_is_refused_by_name(split):
    (split / "val/bb").mkdir()
    words = r"differ in their classes: a, bb\. .*val holds some that .*train does not"
    with pytest.raises(ValueError, match=words):
        labelled_sets(split)
    assert "differ in their classes: a, bb" in (check_labels(str(split)) or "")


def test_folders_are_those_that_are_visible(split):
    assert folders_in(split / "train") == ["a", "b", "c"]
