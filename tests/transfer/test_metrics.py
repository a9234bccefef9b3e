# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The metrics that an earlier fine-tuning has left: a broken file of them is a sentence."""

import pytest
from mmengine.config import Config

from xmoco_plugin.cli.transfer import METRICS, run_seed


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("[0.5]", "not what it should be: a list, not an object"),
        ('{"mIoU": "0.5"}', "mIoU is no number"),
        ('{"mIoU": ', "no JSON"),
    ],
)
def test_metrics_that_are_none_are_named_with_the_way_out(tmp_path, text, fault):
    (tmp_path / "seed_0").mkdir()
    (tmp_path / "seed_0" / METRICS).write_text(text)
    with pytest.raises(ValueError, match=rf"{METRICS}: {fault}.*Remove it: the run is tested"):
        run_seed(Config({}), tmp_path / "seed_0", 0, 1, [])


def test_a_test_that_found_nothing_and_figures_that_are_not_finite_are_read(tmp_path):
    (tmp_path / "seed_0").mkdir()
    for text, metrics in (("{}", {}), ('{"mIoU": Infinity}', {"mIoU": float("inf")})):
        (tmp_path / "seed_0" / METRICS).write_text(text)
        assert run_seed(Config({}), tmp_path / "seed_0", 0, 1, []) == metrics
