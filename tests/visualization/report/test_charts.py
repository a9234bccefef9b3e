# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Charts: what is drawn is what was logged, and stands in a page by itself."""

import json
import math
import re
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest

from xmoco_plugin.visualization.report import WorkDir
from xmoco_plugin.visualization.report.chart import Chart
from xmoco_plugin.visualization.report.curves import HEALTH, SPREAD, loss_section
from xmoco_plugin.visualization.report.histograms import histogram_figures, read_histograms
from xmoco_plugin.visualization.report.similarity import moments
from xmoco_plugin.visualization.report.svg import add_legend, line_style, new_axes, to_svg

from .made_runs import health


def chart(**changes):
    lines = {"one": [(1, 5.0), (2, math.nan), (3, 4.0)], "two": [(1, 3.0)], "none": []}
    return Chart(**(dict(name="a/b", title="A", unit="things", lines=lines) | changes)).draw()


def test_a_chart_says_its_last_values_and_keeps_its_numbers():
    figure = chart(note="How to read it.")
    assert figure.name == "curve-a-b"
    assert figure.caption == "How to read it. one: 4 at epoch 3; two: 3 at epoch 1."
    assert figure.table is not None
    assert figure.table.header == ["epoch", "one", "two", "none"]
    assert figure.table.rows == [["1", "5", "3", ""], ["2", "nan", "", ""], ["3", "4", "", ""]]


def test_axes_have_names_and_units():
    words = re.findall(r">([^<>]+)</text>", chart().body)
    assert {"epoch", "things", "one", "two"} <= set(words)


def test_the_caption_says_what_the_level_lines_stand_for():
    figure = chart(levels={"raw pixels": 41.8})
    assert figure.caption == "one: 4 at epoch 3; two: 3 at epoch 1; raw pixels: 41.8."


def ticks(figure, axis: str = "y") -> list[str]:
    """Words at the ticks of an axis."""
    part = figure.body.partition(f"matplotlib.axis_{2 if axis == 'y' else 1}")[2]
    return re.findall(r">([^<>\n]+)</text>", part)


@pytest.mark.parametrize(
    "labels", [["xmoco", "mocov2"], ["short", "a name of forty characters, as they come"]]
)
def test_a_legend_hides_no_line(labels):
    figure, axes = new_axes()
    for height, label in enumerate(labels):
        axes.plot([0, 1], [height, height], label=label)
    tall = axes.get_window_extent().height
    add_legend(figure, axes)
    figure.draw_without_rendering()
    (legend,) = figure.legends
    box = legend.get_window_extent()
    assert not box.overlaps(axes.get_window_extent())
    assert 0 <= box.x0 < box.x1 <= figure.bbox.width
    assert axes.get_window_extent().height > 0.9 * tall


def test_a_learning_rate_that_ends_near_zero_is_drawn_on_an_even_axis():
    lines = {"one": [(1, 0.06), (2, 0.03), (3, 6e-7)]}
    run = WorkDir(Path("."), "one", train={"lr": lines["one"], "loss": lines["one"]})
    total, rate = loss_section([run]).figures
    assert ticks(total)[0] != "0.00"  # 100,000 between least and greatest: logarithmic
    assert ticks(rate)[0] == "0.00"


def test_equal_numbers_are_drawn_above_zero():
    words = ticks(chart(lines={"one": [(1, 1.0), (2, 1.0)]}))
    assert float(words[0]) == 0


def test_a_long_curve_has_a_short_table_that_ends_where_it_ends():
    table = chart(lines={"one": [(i, float(i)) for i in range(1, 1001)]}).table
    assert len(table.rows) == 25
    assert table.rows[0] == ["1", "1"]
    assert table.rows[-1] == ["1000", "1000"]


def test_a_chart_of_nothing_is_still_a_chart():
    assert "<svg" in chart(lines={"one": [], "two": [(1, math.inf)]}).body


def test_six_runs_differ_in_colour_and_no_two_of_four_share_their_dashes():
    styles = [line_style(i) for i in range(6)]
    assert len({s["color"] for s in styles}) == len({s["marker"] for s in styles}) == 6
    assert len({s["linestyle"] for s in styles[:4]}) == 4


def test_a_picture_is_well_formed_unique_in_its_ids_and_says_words_as_words():
    pictures = []
    for name in ("first", "second"):
        figure, axes = new_axes()
        axes.plot([0, 1], label="a < b & c")
        axes.legend()
        axes.imshow(np.eye(3))
        pictures.append(to_svg(figure, name, 'says "this"'))
    roots = [ElementTree.fromstring(picture) for picture in pictures]
    ids = [e.get("id") for root in roots for e in root.iter() if e.get("id")]
    assert len(ids) == len(set(ids)) > 20
    assert all("a < b & c" in "".join(root.itertext()) for root in roots)
    assert roots[0].get("aria-label") == 'says "this"'
    assert not [p for p in pictures if "http" in p or "<style" in p or "<metadata" in p]


def made(*entries) -> WorkDir:
    return WorkDir(Path("."), "run", health=list(entries))


def test_densities_integrate_to_one_and_damaged_entries_are_left_out():
    bad = [
        {"epoch": 3},
        {"epoch": 4, "hist_pos": None},
        {"epoch": 5, "hist_pos": {"edges": [0, 1], "counts": [1, 2]}},
        {"epoch": 6, "hist_pos": {"edges": [0, 1], "counts": [1]}},
        {"epoch": 7, "hist_pos": {"edges": ["x"], "counts": []}},
    ]
    found = read_histograms(made(health(1), health(2), *bad), "hist_pos")
    assert found is not None
    assert found.epochs.tolist() == [1, 2]
    np.testing.assert_allclose(found.density @ np.diff(found.edges), 1.0)


def test_the_mean_of_each_epochs_histogram_is_told():
    figures = histogram_figures(made(health(1), health(3)), 0)
    assert [figure.name for figure in figures] == [
        "histogram-0",
        "histogram-0-pos",
        "histogram-0-neg",
    ]
    assert [row[0] for row in figures[1].table.rows] == ["1", "3"]
    means = [float(row[1]) for row in figures[1].table.rows]
    assert means == pytest.approx([0.2, 0.6], abs=0.01)


def test_one_epoch_without_negatives_is_drawn():
    entry = health(1)
    entry["hist_neg"]["counts"] = [0] * 40
    assert [f.name for f in histogram_figures(made(entry), 2)] == [
        "histogram-2",
        "histogram-2-pos",
    ]
    assert histogram_figures(made(), 0) == []


@pytest.mark.parametrize(
    ("epochs", "expected"),
    [
        ([], {}),
        ([7], {"end": 7}),
        ([1, 9], {"start": 1, "end": 9}),
        ([0, 2, 90, 110, 200], {"start": 0, "middle": 90, "end": 200}),
    ],
)
def test_the_middle_is_the_checkpoint_nearest_to_it(epochs, expected):
    assert moments(epochs) == expected


def test_every_value_of_the_health_hook_has_a_title_of_its_own(other):
    values = set()
    for line in (other / "health.jsonl").read_text().splitlines():
        values |= set(json.loads(line)["values"])
    explained = HEALTH.keys() | SPREAD.values() | {"nce_uninformed"}  # drawn in nce_ratio's chart
    values.add("pixel_match")  # of batches of 32 or more only
    assert {"grad_norm", "queue_age_steps"} <= values <= explained
    titles = [title for title, _, _ in HEALTH.values()]
    assert len(set(titles)) == len(titles)
