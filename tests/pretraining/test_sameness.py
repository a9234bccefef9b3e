# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images that are the same, or of one colour: counted, and too few different ones refused."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmoco_plugin.pretraining import (
    PretrainError,
    Scan,
    check_number,
    check_readable,
    describe,
    scan_images,
)

from .folder import draw


def scanned(folder: Path):
    paths = sorted(str(path) for path in folder.iterdir())
    return scan_images(paths, folder.parent / "scan.jsonl")


def test_equal_images_are_counted_and_refused(tmp_path):
    folder = draw(tmp_path / "images", 1)
    for i in range(1, 12):
        shutil.copy(folder / "000.png", folder / f"{i:03d}.png")
    found = scanned(folder)
    assert found.different == 1
    assert "11 of 12 images are the same as another one" in describe(found)
    with pytest.raises(PretrainError, match=r"12 readable images, 1 of them different \(11 the"):
        check_number(found)


def test_images_of_one_colour_count_as_one(tmp_path):
    folder = draw(tmp_path / "images", 6)
    for i in range(6):  # of several sizes and colours, so that no two files are equal
        Image.new("RGB", (40 + i, 40), (i, i, i)).save(folder / f"black{i}.png")
    found = scanned(folder)
    assert (found.duplicates, len(found.constant), found.different) == (0, 6, 7)
    assert any(line.startswith("6 of 12 images are constant") for line in describe(found))
    with pytest.raises(PretrainError, match=r"7 of them different \(0 the same.*6 of one colour"):
        check_number(found)
    again = scanned(folder)  # from what the first scan noted
    assert again.different == 7


def test_few_large_pictures_are_refused_with_the_tiles_that_they_would_make():
    few = Scan(good=["a.tif", "b.tif", "c.tif"], digests=["a", "b", "c"])
    few.sides = np.array([[8000, 8000], [8000, 6000], [2100, 2048]])
    with pytest.raises(PretrainError, match=r"--tiles 512 trains on 464 tiles of them\.$"):
        check_number(few)
    few.sides = np.array([[8000, 600]] * 3)
    with pytest.raises(PretrainError, match=r"some thousands a beginning\.$"):
        check_number(few)


def test_pictures_too_large_to_be_read_whole_are_refused_with_what_reads_them():
    none = Scan(bad=[("a.tif", "90000x90000 px are above the limit (max_pixels)"), ("b.tif", "?")])
    with pytest.raises(PretrainError, match=r"none of the 2 .*size: 1\. --tiles N reads large T"):
        check_readable(none)


def test_images_enough_that_are_different_pass(tmp_path):
    check_number(scanned(draw(tmp_path / "images", 8)))


@pytest.mark.parametrize(
    "line",
    [
        b'{"path": PATH, "size": SIZE, "changed": TIME}',
        b'{"path": PATH, "size": SIZE, "changed": TIME, "sides": ["a", 1], "mode": 1, "digest": 1}',
        b'{"path": PATH, "size": SIZE, "changed": TIME, "reason": []}',
        b'{"path": [1]}',
    ],
)
def test_a_line_that_is_no_fact_is_looked_at_anew(tmp_path, line):
    folder = draw(tmp_path / "images", 1)
    (file,) = folder.iterdir()
    for old, new in (
        (b"PATH", f'"{file}"'.encode()),
        (b"SIZE", str(file.stat().st_size).encode()),
        (b"TIME", str(file.stat().st_mtime_ns).encode()),
    ):
        line = line.replace(old, new)
    (tmp_path / "scan.jsonl").write_bytes(line + b"\n")
    found = scanned(folder)
    assert (found.good, found.sides.tolist()) == ([str(file)], [[40, 48]])
