# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Whether a teacher knows anything of the images."""

import pytest
import torch

from xmoco_plugin.teachers import Figures, figures, judge_teacher, knn_accuracy

START = Figures(rank=20, similarity=0.9, knn=15.0)


def test_figures_of_unrelated_and_of_equal_features():
    spread = figures(torch.eye(8) * 3)
    assert spread.similarity == pytest.approx(0, abs=1e-6)
    assert spread.rank == pytest.approx(7, rel=1e-5)  # without the mean, 8 span 7 directions
    alike = figures(torch.full((8, 5), 2.0))
    assert (alike.rank, alike.similarity) == (1.0, pytest.approx(1))


def test_knn_finds_classes_whatever_the_norm():
    bank = torch.tensor([[1.0, 0], [9, 1], [0, 2], [1, 7]])
    labels = torch.tensor([0, 0, 1, 1])
    queries, truth = torch.tensor([[5.0, 1], [1, 50], [1, 9]]), torch.tensor([0, 1, 0])
    assert knn_accuracy(bank, labels, queries, truth, 2) == pytest.approx(200 / 3)


@pytest.mark.parametrize(
    ("teacher", "pixels", "knows", "says"),
    [
        (Figures(90, 0.3, 50.0), 12.0, True, "its kNN is 50.0 %, that of raw pixels 12.0 %"),
        (Figures(90, 0.3, 12.5), 12.0, False, "no better by more than chance"),
        (Figures(1.4, 0.999, 50.0), 12.0, False, "all alike"),
        (Figures(90, 0.3, 14.9), 5.0, False, "that of the start is 15.0 % already"),
        (Figures(90, 0.3), None, None, "without labels this cannot be told: its features use 90 "),
    ],
)
def test_the_verdict(teacher, pixels, knows, says):
    found = judge_teacher(teacher, START, pixels, images=2000)
    assert found.knows is knows
    assert says in found.reason


def test_few_labelled_images_are_no_reason_to_stop():
    found = judge_teacher(Figures(90, 0.3, 30.0), START, 28.0, images=20)
    assert found.knows is None
    assert "do not tell them apart" in found.reason
