# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A figure that cannot be a result is said with its reason, in every table that has it."""

import numpy as np
import pytest
from mmengine.config import Config

from xmoco_plugin.cli import doubts, evaluate, share_results, transfer_table

CFG = Config(dict(train_cfg=dict(max_iters=4)))


def constant(shares: list[float]) -> dict[str, float]:
    """mmseg's figures, by its rounding, of one class, the first, for every pixel."""
    first, kinds = shares[0], len(shares)
    return {
        "aAcc": round(100 * first, 2),
        "mIoU": round(100 * first / kinds, 2),
        "mAcc": round(100 / kinds, 2),
    }


@pytest.mark.parametrize("shares", [[0.9, 0.1], [0.001, 0.999], [0.5, 0.3, 0.2], [0.05] * 20])
def test_one_class_for_every_pixel_is_told_by_its_figures(shares):
    assert doubts.is_constant(constant(shares))
    text = transfer_table.table("seg", "a.pth", "1", "c", {0: constant(shares)}, CFG)
    assert text.splitlines()[2].endswith(f"{constant(shares)['aAcc']:.2f} * |")
    assert (
        "\n* seed 0: one class for every pixel, as a constant answer has it, after 4 iter" in text
    )


def test_a_constant_answer_is_told_at_any_number_of_classes_by_two_decimals():
    shares = {k: [0.9, *[0.1 / (k - 1)] * (k - 1)] for k in range(2, 151)}
    assert [k for k in shares if not doubts.is_constant(constant(shares[k]))] == []
    near = {"aAcc": 90.0, "mIoU": 4.15, "mAcc": 4.61}  # between 1 / 22 and 1 / 21
    assert not doubts.is_constant(near)


def test_figures_of_a_segmentor_that_tells_classes_apart_are_left_alone():
    random = np.random.default_rng(0)
    for _ in range(300):  # confusion matrices of three classes, of whatever quality
        table = random.integers(1, 1000, (3, 3)) + np.diag(random.integers(0, 3000, 3))
        right, truth = np.diag(table), table.sum(1)
        union = truth + table.sum(0) - right
        found = dict(
            aAcc=100 * right.sum() / table.sum(),
            mIoU=100 * np.mean(right / union),
            mAcc=100 * np.mean(right / truth),
        )
        assert not doubts.of_fine_tuning("seg", found, False, CFG), found
    assert not doubts.is_constant(dict(aAcc=100.0, mIoU=100.0, mAcc=100.0))


def test_an_accuracy_over_classes_below_that_of_a_constant_answer_is_no_result():
    heads = dict(decode_head=dict(num_classes=4), auxiliary_head=[dict(num_classes=4)])
    cfg = Config(dict(model=heads, train_cfg=dict(max_iters=2)))
    found = {"mIoU": 2.21, "mAcc": 24.47, "aAcc": 7.0}
    assert "constant answer has, 25.00, after 2" in doubts.of_fine_tuning("seg", found, False, cfg)
    assert not doubts.of_fine_tuning("seg", found | {"mAcc": 25.2}, False, cfg)


def test_a_detector_below_a_percent_has_no_result_and_one_above_has():
    low, high = {"AP": 0.2, "AP50": 0.9}, {"AP": 0.4, "AP50": 1.3}
    assert doubts.of_fine_tuning("det", low, False, CFG).startswith("AP50 is below 1: hardly a box")
    assert not doubts.of_fine_tuning("det", high, False, CFG)
    assert doubts.of_fine_tuning("det", {"AP": 0.0}, False, Config()).startswith("AP is below 1")


def test_a_share_without_a_result_is_marked_in_the_table_with_its_seed():
    row = dict(start="scratch", sha256="-", share_percent=5, images=2, iterations=4, seeds=[0, 1])
    row |= dict(metrics={"AP": dict(values=[0.0, 12.0])}, doubts={0: "no box at all"})
    lines = share_results.markdown([row]).splitlines()
    assert lines[2] == "| scratch | - | 5 | 2 | 4 | 2 | 6.00 ± 8.49 * |"
    assert lines[4] == "* scratch, 5 %, seed 0: no box at all."
    assert len(share_results.markdown([row | dict(doubts={})]).splitlines()) == 3


def test_evaluate_says_that_an_accuracy_is_what_a_constant_answer_has():
    rows = [evaluate.row("knn", "k 20", "top1", 25.0), evaluate.row("svm", "C 1", "top1", 60.0)]
    text = evaluate.markdown({"environment": {}}, rows, largest=25.0)
    assert "| knn | k 20 | top1 | 25.00 * |  |" in text
    assert "| svm | C 1 | top1 | 60.00 |  |" in text
    assert "* knn, k 20: no more than a constant answer has, 25.00 %: the features do not" in text
    assert "*" not in evaluate.markdown({"environment": {}}, rows, largest=24.9)


def test_an_accuracy_that_rounding_lifts_above_a_constant_answer_s_is_none():
    shares = [(c, n) for n in (100, 300) for c in range(1, n)]
    assert 100 * (7 / 100) > 100 * 7 / 100  # the two orders in which it is computed
    assert all(doubts.of_accuracy(100 * (c / n), 100 * c / n) for c, n in shares)
    assert not doubts.of_accuracy(100 * (51 / 50_000), 100 * 50 / 50_000)


def test_a_figure_that_is_no_number_is_marked_and_of_two_runs_too():
    runs = {0: dict(mIoU=float("nan"), mAcc=50.0), 1: dict(mIoU=30.0, mAcc=50.0)}
    text = transfer_table.table("seg", "scratch", "-", "c", runs)
    assert "| 0 | nan * | 50.00 * |" in text
    assert "nan ± nan *" in text
    assert "seed 0: a figure is no number" in text
