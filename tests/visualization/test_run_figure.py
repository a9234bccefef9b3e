# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import io
import sys

import numpy as np
from PIL import Image

from xmoco_plugin.visualization import RunCurves, run_figure, save_run_figure


def example(**options) -> RunCurves:
    maps = {"before training": np.eye(4), "after training": np.full((4, 4), -0.5)}
    return RunCurves(
        **(
            dict(
                losses={"loss_nce": [[1, 6.0], [2, 5.0]], "loss_consistency": [[1, 0.1], [2, 0.2]]},
                accuracy=[[0, 20.0], [2, 70.0]],
                levels={"kNN on raw pixels": 40.0, "largest class": 8.3},
                maps=maps,
                labels=[0, 0, 1, 1],
            )
            | options
        )
    )


def panel(figure, title: str):
    return next(axes for axes in figure.axes if axes.get_title() == title)


def test_curves_and_maps_carry_their_values():
    figure = run_figure(example())
    losses = panel(figure, "Loss terms")
    drawn = {line.get_label().split(":")[0]: line.get_ydata().tolist() for line in losses.lines}
    assert drawn == {"loss_nce": [6.0, 5.0], "loss_consistency": [0.1, 0.2]}
    after = panel(figure, "after training").images[0]
    assert after.get_array().tolist() == np.full((4, 4), -0.5).tolist()
    assert after.get_clim() == (-1, 1)


def test_every_panel_names_its_axes_and_units():
    figure = run_figure(example())
    accuracy = panel(figure, "kNN accuracy on the validation images")
    assert accuracy.get_ylabel() == "accuracy (%)"
    assert accuracy.get_xlabel() == "epoch"
    assert accuracy.get_ylim() == (0, 100)
    labels = [text.get_text() for text in accuracy.get_legend().get_texts()]
    assert labels == ["kNN: 70.0 % at the end", "kNN on raw pixels: 40.0 %", "largest class: 8.3 %"]
    assert panel(figure, "before training").get_ylabel() == "query i (first view)"
    assert "mean on the diagonal 1.00, off it 0.00" in panel(figure, "before training").get_xlabel()
    assert all(axes.get_ylabel() for axes in figure.axes)


def test_terms_far_apart_share_a_logarithmic_axis_and_near_ones_a_linear_one():
    assert panel(run_figure(example()), "Loss terms").get_yscale() == "log"
    near = example(losses={"a": [[1, 2.0]], "b": [[1, 1.0]]})
    assert panel(run_figure(near), "Loss terms").get_yscale() == "linear"


def test_a_term_of_weight_zero_or_below_does_not_break_the_axis():
    off = example(losses={"a": [[1, 2.0], [2, 1.0]], "b": [[1, 0.0], [2, 0.0]]})
    save_run_figure(off, io.BytesIO())


def test_classes_are_divided_by_lines():
    axes = panel(run_figure(example()), "before training")
    assert [line.get_xdata()[0] for line in axes.lines if line.get_ydata()[0] == 0] == [1.5]


def test_anything_may_be_missing():
    for run in (
        RunCurves(),
        example(maps={}, labels=None),
        example(accuracy=()),
        example(losses={}),
    ):
        save_run_figure(run, io.BytesIO())


def test_the_file_is_a_png_in_colour():
    file = io.BytesIO()
    save_run_figure(example(), file, "title")
    picture = Image.open(file)
    assert picture.format == "PNG"
    colours = {c for _, c in picture.convert("RGB").getcolors(10**6)}
    assert (0, 114, 178) in colours  # Okabe and Ito's blue


def test_drawing_leaves_pyplot_alone():
    had = sys.modules.pop("matplotlib.pyplot", None)
    try:
        save_run_figure(example(), io.BytesIO())
        assert "matplotlib.pyplot" not in sys.modules
    finally:
        if had is not None:
            sys.modules["matplotlib.pyplot"] = had
