# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The kNN benchmark answers as the plain way does, and says what it did not measure."""

import json
from pathlib import Path

import pytest

from .command import run as run_benchmark

SIZES = ["--bank", "64", "256", "--dim", "32", "--queries", "30", "--batch", "8", "--k", "20"]
FLOAT32, FLOAT16, PLAIN = "ours, float32", "ours, float16", "plain product"


def run(folder: Path, *arguments: str) -> tuple[dict, dict]:
    """In a process of its own, because it forks. Rows by bank and way, and the last rows by way."""
    words = [*SIZES, "--classes", "5", "--cosine", "0.2", "--repeats", "1", *arguments]
    run_benchmark("knn", *words, "--out", folder / "knn")
    rows = json.loads((folder / "knn.json").read_text())["rows"]
    measured = {(row["bank"], row["way"]): row for row in rows if "bank" in row}
    return measured, {row["way"]: row for row in rows if "bank" not in row}


def test_both_ways_find_the_same_and_what_was_not_measured_is_marked(tmp_path):
    measured, target = run(tmp_path, "--target", "1024", "60")
    assert set(measured) == {(m, way) for m in (64, 256) for way in (FLOAT32, FLOAT16, PLAIN)}
    for m in (64, 256):
        ours, half, plain = (measured[m, way] for way in (FLOAT32, FLOAT16, PLAIN))
        assert ours["same answers %"] == 100
        assert ours["top-1 %"] == plain["top-1 %"]
        assert 40 < plain["top-1 %"] < 100  # a constant answer has about 20, a perfect one hides
        assert ours["votes apart"] < 1e-5 < half["votes apart"] < 1e-2  # half precision is used
        assert half["bank GB"] == ours["bank GB"] / 2 == m * 32 * 2 / 1e9
        assert ours["search s"] > 0 < plain["search s"]
    for way, row in target.items():
        assert row["figure"] == "extrapolated: images and queries"
        # By the exponent, from the largest bank and in proportion to the queries.
        largest = measured[256, way]
        base = (0 if way == PLAIN else largest["check s"]) + 2 * largest["search s"]
        # The exponent is rounded to two places, the ratio of the banks is 4.
        assert 60 * row["minutes"] == pytest.approx(base * 4 ** row["exponent"], rel=0.01)


def test_a_bank_that_was_measured_and_one_that_does_not_fit_are_told_apart(tmp_path):
    # 4 chunks of 16,384 x 32 floats are 8.39 MB; then a bank of 65,536 takes 8.39 or 4.19 MB.
    sizes = ["--bank", "64", "256", "65536", "--memory", "0.0130"]
    measured, target = run(tmp_path, *sizes, "--target", "65536", "30")
    assert (65536, FLOAT16) in measured
    assert (65536, FLOAT32) not in measured
    assert {way: row["figure"] for way, row in target.items()} == {
        FLOAT16: "measured",
        FLOAT32: "extrapolated: images",
        PLAIN: "extrapolated: images",
    }
    assert [target[way]["largest bank"] for way in (FLOAT16, FLOAT32)] == [65536, 256]
