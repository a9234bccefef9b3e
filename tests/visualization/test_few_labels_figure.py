# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from xmoco_plugin.visualization import few_labels_figure, save_few_labels_figure

CURVES = {
    "scratch": {1.0: [2.0, 4.0], 100.0: [30.0, 30.0]},
    "pretrained": {1.0: [5.0, 9.0], 100.0: [31.0, 35.0]},
}


def figure(curves=None, **options):
    return few_labels_figure(curves or CURVES, "AP", {1.0: 1, 100.0: 80}, **options)


def test_a_line_a_start_goes_through_the_means_with_bars_of_one_standard_deviation():
    axes = figure().axes[0]
    lines = {box.get_label(): box for box in axes.containers}
    assert list(lines) == ["scratch", "pretrained"]
    line, _, (bars,) = lines["pretrained"]
    assert line.get_ydata().tolist() == [7.0, 33.0]
    deviation = np.sqrt(8)  # of 5 and 9, and of 31 and 35: n - 1 in the denominator
    ends = [sorted(segment[:, 1]) for segment in bars.get_segments()]
    assert ends[0] == pytest.approx([7 - deviation, 7 + deviation])
    assert ends[1] == pytest.approx([33 - deviation, 33 + deviation])
    dots = axes.collections[-1].get_offsets()
    assert sorted(dots[:, 1]) == [5, 9, 31, 35]
    assert line.get_color() != lines["scratch"][0].get_color()
    assert line.get_marker() != lines["scratch"][0].get_marker()


def test_axes_have_names_and_units_and_the_caption_says_what_the_spread_is():
    drawn = figure(caption="Images vary.")
    axes = drawn.axes[0]
    assert axes.get_ylabel() == "AP on the validation images (%)"
    assert axes.get_xlabel().startswith("share of the training images, log scale")
    assert [t.get_text() for t in axes.get_xticklabels()] == ["1 %\n1", "100 %\n80"]
    caption = drawn.get_supxlabel()
    assert "Mean of 2 seeds" in caption
    assert "± 1 standard deviation" in caption
    assert caption.endswith("Images vary.")


def test_unequal_numbers_of_seeds_and_a_single_one_are_said():
    assert "Mean of 1 to 2 seeds" in figure({"a": {1.0: [1.0], 100.0: [2.0, 3.0]}}).get_supxlabel()
    assert "nothing is known of the spread" in figure({"a": {1.0: [1.0]}}).get_supxlabel()


def test_both_files_are_images_and_the_svg_is_the_same_every_time(tmp_path):
    for name in ("a.png", "a.svg", "b.svg"):
        save_few_labels_figure(figure(), tmp_path / name)
    with Image.open(tmp_path / "a.png") as image:
        image.load()
        assert min(image.size) > 300
    assert (tmp_path / "a.svg").read_bytes() == (tmp_path / "b.svg").read_bytes()
    ids = [e.get("id") or "" for e in ElementTree.parse(tmp_path / "a.svg").iter()]
    assert [i for i in ids if i.startswith("series-")] == ["series-scratch", "series-pretrained"]
