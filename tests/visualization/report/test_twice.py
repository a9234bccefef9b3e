# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Groups of like images in a run's report: of its own list, or of what xmoco duplicates found."""

import csv

import cv2
import pytest

from xmoco_plugin.pretraining import scan_images, write_list
from xmoco_plugin.untrusted import FileRefusedError
from xmoco_plugin.visualization.report.twice import GROUPS, PICTURES, twice_figure
from xmoco_plugin.visualization.report.work_dir import WorkDir

from ...data.test_near_duplicates import picture
from ...tool_modules import import_tool, run_tool


@pytest.fixture
def run(tmp_path):
    """A run on six images: of the first there is a copy, of the second one cut by two pixels."""
    images, folder = tmp_path / "images", tmp_path / "run"
    for place in (images, folder):
        place.mkdir()
    for number in range(4):
        cv2.imwrite(str(images / f"{number}.png"), picture(number))
    (images / "copy<b>.png").write_bytes((images / "0.png").read_bytes())
    cv2.imwrite(str(images / "near.jpg"), picture(1)[:-1, :-2])
    paths = sorted(map(str, images.iterdir()))
    write_list(scan_images(paths, tmp_path / "scan.jsonl"), folder)
    return WorkDir(folder, "run")


def test_equal_files_are_shown_without_anything_more_and_the_command_for_near_ones(run):
    figure = twice_figure(run, 3)
    assert figure.name == "twice-3"
    assert figure.caption.startswith("1 of 6 images are another one, byte for byte, in 1 groups")
    assert "xmoco duplicates RUN/files.txt --out RUN/duplicates.csv" in figure.caption
    assert figure.body.count("<img ") == 2
    assert "copy&lt;b&gt;.png" in figure.body
    assert "<b>" not in figure.body
    assert figure.body.count("<div") == 1 + PICTURES  # a whole row


def test_near_ones_are_shown_once_duplicates_has_looked(run, tmp_path, monkeypatch):
    words = [run.path / "files.txt", "--out", run.path / "duplicates.csv", "--workers", 0]
    assert run_tool(import_tool("duplicates"), monkeypatch, *words) == 0
    figure = twice_figure(run, 0)
    assert figure.caption.startswith("2 of 6 images are another one, exactly or nearly, in 2 gro")
    assert figure.body.count("<img ") == 4
    assert "near: near.jpg" in figure.body
    assert "xmoco duplicates" not in figure.caption
    # Of other images than the run's nothing is shown, and what is gone since is said.
    (tmp_path / "images" / "near.jpg").unlink()
    assert "not readable" in twice_figure(run, 0).body
    kept = (run.path / "files.txt").read_text().splitlines()
    (run.path / "files.txt").write_text(
        "".join(f"{p}\n" for p in kept if not p.endswith("near.jpg"))
    )
    assert twice_figure(run, 0).body.count("<img ") == 2


def test_runs_without_copies_or_lists_have_no_figure_and_a_broken_list_is_an_error(run):
    (run.path / "digests.txt").write_text("".join(f"{i}\n" for i in range(6)))
    assert twice_figure(run, 0) is None
    (run.path / "digests.txt").unlink()
    assert twice_figure(run, 0) is None
    (run.path / "duplicates.csv").mkdir()
    with pytest.raises(FileRefusedError):
        twice_figure(run, 0)
    (run.path / "duplicates.csv").rmdir()
    (run.path / "duplicates.csv").write_text("a,b\n1\n,,,,,,,,\n")
    assert twice_figure(run, 0) is None
    (run.path / "files.txt").unlink()
    assert twice_figure(run, 0) is None


def test_the_largest_groups_come_first_and_no_more_than_fit(run):
    paths = (run.path / "files.txt").read_text().splitlines()
    with open(run.path / "duplicates.csv", "w", newline="") as file:
        table = csv.writer(file)
        table.writerow(["set", "group", "file", "how", "bits", "like"])
        for group in range(2 * GROUPS):
            for path in paths[: 6 if group == 1 else 2]:
                table.writerow(["", group + 1, path, "near", 1, paths[0]])
    figure = twice_figure(run, 0)
    assert figure.body.count("<img ") == 6 + 2 * (GROUPS - 1)
    assert figure.body.index("6 images") < figure.body.index("2 images")
    assert len(figure.table.rows) == 2 * GROUPS
