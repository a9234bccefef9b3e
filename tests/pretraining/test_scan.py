# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a scan finds, what it remembers, and when it forgets."""

import json
import os
import shutil

import numpy as np
import pytest
from PIL import Image

from xmoco_plugin.data import ListedImages
from xmoco_plugin.pretraining import Scan, describe, overlap, scan_images, write_list
from xmoco_plugin.pretraining.scan import look_at

from .folder import draw


@pytest.fixture
def folder(tmp_path):
    """Three good images, a copy of one, grey of 16 bits, one cut, one empty, one that is text."""
    folder = draw(tmp_path / "images", 3, ending=".jpg")
    shutil.copy(folder / "000.jpg", folder / "copy.jpg")
    deep = np.arange(30 * 20, dtype=np.uint16).reshape(20, 30)
    Image.fromarray(deep).save(folder / "deep.png")
    whole = (folder / "001.jpg").read_bytes()
    (folder / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (folder / "empty.jpg").write_bytes(b"")
    (folder / "text.png").write_text("no image")
    return folder


def paths_of(folder) -> list[str]:
    return sorted(str(path) for path in folder.iterdir())


def test_every_kind_of_file_is_told_apart(folder, tmp_path):
    found = scan_images(paths_of(folder), tmp_path / "scan.jsonl")
    assert [os.path.basename(path) for path in found.good] == [
        *("000.jpg", "001.jpg", "002.jpg", "copy.jpg", "deep.png")
    ]
    reasons = {os.path.basename(path): reason for path, reason in found.bad}
    assert set(reasons) == {"cut.jpg", "empty.jpg", "text.png"}
    assert "truncated" in reasons["cut.jpg"]
    assert "empty" in reasons["empty.jpg"]
    assert found.duplicates == 1
    assert found.sides.tolist() == [[40, 48]] * 4 + [[20, 30]]
    assert found.modes == {"RGB": 4, "I;16": 1}
    assert found.grey_share == pytest.approx(1 / 5)
    text = "\n".join(describe(found, size=32))
    assert "images: 5 readable, 3 unreadable" in text
    assert "20 to 40 px" in text
    assert "enlarged for them: 1 (20%)" in text


def test_worker_processes_find_the_same(folder, tmp_path):
    alone = scan_images(paths_of(folder), tmp_path / "a.jsonl")
    many = scan_images(paths_of(folder), tmp_path / "b.jsonl", workers=2)
    assert (many.good, many.bad, many.digests) == (alone.good, alone.bad, alone.digests)


def opened(monkeypatch) -> list[str]:
    """Names of the files that are looked at from now on."""
    names: list[str] = []

    def noted(path, max_pixels):
        names.append(os.path.basename(path))
        return look_at(path, max_pixels)

    monkeypatch.setattr("xmoco_plugin.pretraining.scan.look_at", noted)
    return names


def test_only_what_is_new_or_changed_is_opened_again(folder, tmp_path, monkeypatch):
    cache = tmp_path / "scan.jsonl"
    scan_images(paths_of(folder), cache)
    names = opened(monkeypatch)
    first = scan_images(paths_of(folder), cache)
    assert names == []
    assert len(first.good) == 5
    draw(folder / "..", 1, side=24, ending=".jpg", seed=5)
    shutil.move(folder / ".." / "000.jpg", folder / "new.jpg")
    shutil.copy(folder / "002.jpg", folder / "cut.jpg")  # mended
    (folder / "001.jpg").unlink()
    second = scan_images(paths_of(folder), cache)
    assert sorted(names) == ["cut.jpg", "new.jpg"]
    assert "001.jpg" not in map(os.path.basename, second.good)
    assert {"cut.jpg", "new.jpg"} <= set(map(os.path.basename, second.good))


def test_a_file_that_changes_in_content_only_is_opened_again(folder, tmp_path, monkeypatch):
    cache = tmp_path / "scan.jsonl"
    before = scan_images(paths_of(folder), cache)
    size = (folder / "002.jpg").stat().st_size
    (folder / "002.jpg").write_bytes(b"\0" * size)
    os.utime(folder / "002.jpg", ns=(1, 1))
    names = opened(monkeypatch)
    after = scan_images(paths_of(folder), cache)
    assert names == ["002.jpg"]
    assert len(after.good) == len(before.good) - 1


def test_a_file_that_could_not_be_opened_is_tried_again_though_it_has_not_changed(
    folder, tmp_path, monkeypatch
):
    def refuse(path, *_):
        raise PermissionError(13, "Permission denied", str(path))

    with monkeypatch.context() as patch:
        patch.setattr("xmoco_plugin.untrusted.files.os.open", refuse)
        found = scan_images([str(folder / "000.jpg")], tmp_path / "scan.jsonl")
        assert found.bad == [(str(folder / "000.jpg"), "no permission to read it")]
    assert scan_images([str(folder / "000.jpg")], tmp_path / "scan.jsonl").bad == []


def test_another_limit_of_pixels_looks_again(folder, tmp_path):
    cache = tmp_path / "scan.jsonl"
    assert len(scan_images(paths_of(folder), cache, max_pixels=100).good) == 0
    found = scan_images(paths_of(folder), cache)
    assert len(found.good) == 5
    again = scan_images(paths_of(folder), cache, max_pixels=100)
    assert "above the limit of 100 pixels" in dict(again.bad)[str(folder / "000.jpg")]


@pytest.mark.timeout(30)
def test_what_is_no_file_is_named_and_looked_at_again(folder, tmp_path):
    os.mkfifo(folder / "pipe.jpg")
    (folder / "zero.jpg").symlink_to("/dev/zero")
    with open(folder / "large.jpg", "wb") as file:
        file.truncate(60 << 30)
    found = dict(scan_images(paths_of(folder), tmp_path / "scan.jsonl").bad)
    assert found[str(folder / "pipe.jpg")] == "not a regular file: a named pipe"
    assert found[str(folder / "zero.jpg")] == "not a regular file: a device"
    assert found[str(folder / "large.jpg")] == "64.4 GB, the limit is 1.1 GB"
    (folder / "pipe.jpg").unlink()
    shutil.copy(folder / "000.jpg", folder / "pipe.jpg")
    again = scan_images(paths_of(folder), tmp_path / "scan.jsonl")
    assert str(folder / "pipe.jpg") in again.good


def test_a_scan_that_was_killed_goes_on_where_it_was(folder, tmp_path, monkeypatch):
    cache = tmp_path / "scan.jsonl"
    scan_images(paths_of(folder)[:3], cache)
    text = cache.read_text()
    cache.write_text(text[: len(text) - 20])  # in the middle of a line
    names = opened(monkeypatch)
    found = scan_images(paths_of(folder), cache)
    assert len(names) == len(paths_of(folder)) - 2
    assert len(found.good) == 5
    names.clear()
    scan_images(paths_of(folder), cache)
    assert names == []


def test_progress_ends_at_all_files(folder, tmp_path):
    seen = []
    scan_images(
        paths_of(folder), tmp_path / "scan.jsonl", progress=lambda *numbers: seen.append(numbers)
    )
    assert seen[0] == (0, 8)
    assert seen[-1] == (8, 8)


def test_labelled_images_in_the_training_set_are_found_by_content_and_by_path(tmp_path):
    training = draw(tmp_path / "training", 4)
    labels = draw(tmp_path / "labels", 3, seed=9)
    shutil.copy(training / "002.png", labels / "same.png")
    os.symlink(training / "003.png", labels / "link.png")
    found = [
        scan_images(paths_of(folder), tmp_path / "scan.jsonl") for folder in (labels, training)
    ]
    assert overlap(*found) == 2


def test_a_name_with_a_line_break_is_left_out_by_name(tmp_path):
    folder = draw(tmp_path / "images", 1)
    (folder / "000.png").rename(folder / "a\nb.png")
    assert "line break" in scan_images(paths_of(folder), tmp_path / "scan.jsonl").bad[0][1]


def test_the_list_is_read_back_as_it_was_written_whatever_the_names(tmp_path):
    names = ["a b.png", "ü.png", os.fsdecode(b"\xff\xfe.png"), "#c.png"]
    paths = [str(tmp_path / name) for name in names]
    write_list(Scan(good=paths), tmp_path)
    data = ListedImages(str(tmp_path / "files.txt"), pipeline=[])
    assert [data.get_data_info(i)["img_path"] for i in range(len(data))] == paths


def test_a_listed_set_reads_relative_paths_and_a_choice_of_images(tmp_path):
    draw(tmp_path, 4)
    (tmp_path / "files.txt").write_text("000.png\n\n001.png\n002.png\n003.png")
    data = ListedImages(
        "files.txt",
        data_root=str(tmp_path),
        indices=[3, 1],
        pipeline=[dict(type="LoadImageFromFile")],
    )
    assert [os.path.basename(data[i]["img_path"]) for i in range(len(data))] == [
        *("003.png", "001.png")
    ]
    assert data[0]["img"].shape == (40, 48, 3)


def test_a_million_paths_are_ready_within_seconds_and_take_no_list(tmp_path):
    line = "/data/some/folder/of/images/{:07d}.jpg\n"
    with open(tmp_path / "files.txt", "w") as file:
        for block in range(100):
            file.write("".join(line.format(block * 10_000 + i) for i in range(10_000)))
    data = ListedImages(str(tmp_path / "files.txt"), pipeline=[])
    assert len(data) == 1_000_000
    assert data.get_data_info(654_321)["img_path"].endswith("/0654321.jpg")
    held = [v for v in vars(data).values() if isinstance(v, list) and len(v) > 1000]
    assert held == []


def test_a_missing_and_an_empty_list_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no list of images .*gone\.txt"):
        ListedImages(str(tmp_path / "gone.txt"), pipeline=[])
    (tmp_path / "empty.txt").write_text("\n\n")
    with pytest.raises(ValueError, match="names no image"):
        ListedImages(str(tmp_path / "empty.txt"), pipeline=[])


def test_the_cache_is_lines_of_json(folder, tmp_path):
    scan_images(paths_of(folder), tmp_path / "scan.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "scan.jsonl").read_text().split("\n") if line]
    assert {line["path"] for line in lines} == set(paths_of(folder))


@pytest.mark.timeout(60)
def test_a_list_that_is_a_pipe_or_has_60_gb_is_named(tmp_path):
    os.mkfifo(tmp_path / "pipe.txt")
    with open(tmp_path / "large.txt", "wb") as file:
        file.truncate(60 << 30)
    for name, reason in (("pipe", "a named pipe"), ("large", "64.4 GB, the limit is 4.3 GB")):
        with pytest.raises(ValueError, match=f"{name}.txt cannot be read: .*{reason}"):
            ListedImages(str(tmp_path / f"{name}.txt"))


def test_a_reason_that_a_strangers_cache_holds_is_printable(folder, tmp_path):
    path = str(folder / os.listdir(folder)[0])
    stat = os.stat(path)
    line = {"path": path, "size": stat.st_size, "changed": stat.st_mtime_ns}
    (tmp_path / "scan.jsonl").write_text(json.dumps(line | {"reason": "\x1b[2Jcut\nerror: no"}))
    found = scan_images([path], tmp_path / "scan.jsonl")
    assert found.bad == [(path, r"\x1b[2Jcut\nerror: no")]


def test_names_out_of_a_set_of_shards_are_no_paths_and_no_tiles_are_cut_of_it(tmp_path):
    path = str(tmp_path / "a.png")
    labelled = Scan(good=[path], digests=["1"])
    sides = np.array([[4000, 4000], [4000, 4000]])
    sample = Scan(good=["a\0.png", path], digests=["2", "3"], sides=sides, total=9)
    assert overlap(labelled, sample) == 0
    assert "tiles" not in "\n".join(describe(sample, 32))
    sample.total = None
    assert "--tiles" in "\n".join(describe(sample, 32))
