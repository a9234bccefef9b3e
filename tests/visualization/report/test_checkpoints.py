# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The table of a run's checkpoints; runs without one, and lines that anybody may have written."""

from types import SimpleNamespace

from xmoco_plugin.cli.runs import _start_knn, row
from xmoco_plugin.visualization.report import WorkDir
from xmoco_plugin.visualization.report.checkpoints import HEADER, checkpoints_table
from xmoco_plugin.visualization.report.page import facts, write_report

from .made_runs import health, write_lines

START = dict(epoch=0, iter=0, knn=92.0, queries=500, handed_over=True, why="better <than> none")
START |= dict(points=0.0, error=0.0, values=dict(backbone_rank=40.2, neighbours_kept=1.0))
WORSE = dict(epoch=1, iter=4, knn=87.0, handed_over=False, points=-5.0, error=1.61)
WORSE |= dict(verdict="worse than it began", values=dict(backbone_rank=31.0))


def work_dir(folder, weights):
    write_lines(folder / "health.jsonl", [health(1, "worse than it began")])
    if weights is not None:
        write_lines(folder / "weights.jsonl", weights)
    return WorkDir.read(folder)


def test_the_start_stands_first_and_what_was_handed_over_is_marked():
    table = checkpoints_table([START, WORSE])
    assert table.header == HEADER
    assert table.rows == [
        ["0", "92.0", "", "40.2", "", "100%", "the start", "yes"],
        ["1", "87.0", "-5.0 ± 1.6", "31.0", "", "", "worse than it began", ""],
    ]


def test_of_several_that_were_handed_over_the_last_one_is_held():
    lines = [START, WORSE | dict(handed_over=True), WORSE | dict(epoch=2)]
    assert [cells[-1] for cells in checkpoints_table(lines).rows] == ["", "yes", ""]


def test_lines_of_a_stranger_are_shown_as_far_as_they_are_numbers():
    odd = dict(epoch=1, knn="high", values=[1], verdict=["x"], points=True, handed_over="yes")
    assert checkpoints_table([odd]).rows == [["1", "", "", "", "", "", "", ""]]


def test_the_report_and_the_list_of_runs_name_the_start_and_what_is_held(tmp_path):
    run = work_dir(tmp_path / "new", [START, WORSE, {"no": "epoch"}])
    assert len(run.weights) == 2
    said = {cells[0]: cells[1] for cells in facts([run]).rows}
    assert said["handed over"] == "the start: better <than> none"
    write_report([run], tmp_path / "report.html", say=lambda _: None)
    page = (tmp_path / "report.html").read_text()
    assert "Its checkpoints, the start first" in page
    assert "better &lt;than&gt; none" in page
    assert 'class="verdict worse-than-it-began"' in page
    assert row(run)["handed over"] == "the start"


def test_a_run_from_before_there_was_such_a_table_reads_as_before(tmp_path):
    run = work_dir(tmp_path / "old", None)
    assert run.weights == []
    assert {cells[0]: cells[1] for cells in facts([run]).rows}["handed over"] == "not recorded"
    write_report([run], tmp_path / "report.html", say=lambda _: None)
    assert "Its checkpoints" not in (tmp_path / "report.html").read_text()
    assert (row(run)["handed over"], row(run)["start kNN"]) == (None, None)


def test_the_start_is_the_first_of_the_validations_or_what_the_summary_kept():
    run = SimpleNamespace(summary=dict(knn_before=12.344))
    assert _start_knn(run, [(0, 90.0), (1, 30.0)]) == 90.0
    assert _start_knn(run, [(1, 30.0)]) == 12.34
