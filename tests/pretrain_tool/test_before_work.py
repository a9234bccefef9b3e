# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What can be refused before images are opened is; figures mean something for small runs, too."""

import pytest
import torch

from xmoco_plugin.cli import pretrain_options
from xmoco_plugin.cli.pretrain_end import ended_badly, in_doubt, memory_text, time_text
from xmoco_plugin.pretraining import PretrainError

from ..pretraining.folder import draw
from .command import FAST, refused


@pytest.mark.parametrize(
    ("option", "words"),
    [
        ("--queue-len", "--queue-len 1,000: there are only 9 images"),
        ("--batch-size", "--batch-size 1000 on 1 processes: there are only 9 images"),
    ],
)
def test_a_queue_or_batch_longer_than_the_set_is_refused_before_an_image_is_opened(
    tool, monkeypatch, capsys, tmp_path, option, words
):
    draw(tmp_path / "photos", 9)
    opened = []
    monkeypatch.setattr(tool, "look_for_training", lambda *_: opened.append(1))
    options = {**dict(zip(FAST[::2], FAST[1::2], strict=True)), option: 1000}
    arguments = ["--data", tmp_path / "photos", "--out", tmp_path / "run"]
    flat = [word for pair in options.items() for word in pair]
    assert words in refused(tool, monkeypatch, capsys, *arguments, *flat)
    assert opened == []


def test_what_fits_passes():
    pretrain_options.check_numbers_of(dict(queue_len=8, batch_size=4, gpus=2), 8)
    with pytest.raises(PretrainError, match="--batch-size 4 on 3 processes"):
        pretrain_options.check_numbers_of(dict(batch_size=4, gpus=3), 8)


def test_small_runs_have_figures_that_mean_something():
    assert [time_text(s) for s in (0.2, 3, 61, 4000)] == ["1 s", "3 s", "2 min", "1.1 h"]
    sizes = [memory_text(size) for size in (3, 140_000, 4_000_000)]
    assert sizes == ["too little to measure", "140 kB", "4 MB"]


def test_a_training_that_was_stopped_is_not_said_to_have_spoken():
    assert ended_badly(143) == "the training was stopped (SIGTERM)"
    assert ended_badly(130) == "the training was stopped (SIGINT)"
    assert "what it said stands above" in ended_badly(2)


def test_weights_in_doubt_are_said_to_be_so_and_nothing_of_other_epochs(tmp_path):
    for verdict, said in (("not learning", "verdict is 'not learning'"), ("learning", None)):
        torch.save({"state_dict": {}, "meta": {"verdict": verdict}}, tmp_path / "backbone.pth")
        found = in_doubt(tmp_path)
        assert found is None if said is None else said in found and "no epoch" not in found
