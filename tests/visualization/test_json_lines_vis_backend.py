# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One file for all parts of a run: every line once, valid, in order."""

import json
import math

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook

from xmoco_plugin.visualization import JsonLinesVisBackend

from .. import tiny_runner

VISUALIZER = dict(
    type="Visualizer",
    vis_backends=[dict(type="LocalVisBackend"), dict(type="JsonLinesVisBackend")],
)


def train(folder, epochs, first_validation=False, **options):
    hooks = [dict(type="RunSummaryHook", picture=False)] if first_validation else []
    runner = tiny_runner.build(
        folder,
        hooks,
        validate=True,
        visualizer=VISUALIZER,
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=epochs, val_interval=1),
        **options,
    )
    runner.train()


def read(folder) -> list[dict]:
    def refuse(constant):
        raise AssertionError(f"{constant} is no JSON")

    text = (folder / "metrics.jsonl").read_text()
    assert text.endswith("\n")
    return [json.loads(line, parse_constant=refuse) for line in text.splitlines()]


def steps(folder) -> list:
    """Iteration of a training line, 'val' and the epoch of a validation."""
    return [line.get("iter") or f"val {line['step']}" for line in read(folder)]


def test_the_lines_are_those_of_the_hosts_own_file(tmp_path):
    train(tmp_path, 2)
    host = next(tmp_path.glob("*/vis_data/scalars.json")).read_text().splitlines()
    assert read(tmp_path) == [json.loads(line) for line in host]
    assert steps(tmp_path) == [2, 4, "val 1", 6, 8, "val 2"]


def test_a_resumed_run_goes_on_in_the_file_and_drops_what_it_does_again(tmp_path):
    train(tmp_path, 3, first_validation=True)
    with open(tmp_path / "metrics.jsonl", "a") as file:
        file.write('{"step": 14, "it')  # of a run killed while it wrote
    before = read_prefix(tmp_path, 4)
    again = dict(resume=True, load_from=str(tmp_path / "epoch_1.pth"))
    train(tmp_path, 4, first_validation=True, **again)
    # The validation after the last epoch of which a checkpoint exists is not done again.
    assert steps(tmp_path) == (
        ["val 0", 2, 4, "val 1", 6, 8, "val 2", 10, 12, "val 3", 14, 16, "val 4"]
    )
    assert read(tmp_path)[:4] == before


def read_prefix(folder, count):
    lines = (folder / "metrics.jsonl").read_text().splitlines()[:count]
    return [json.loads(line) for line in lines]


def test_a_new_run_in_an_old_folder_starts_a_new_file(tmp_path):
    train(tmp_path, 2, first_validation=True)
    train(tmp_path, 1, first_validation=True)
    assert steps(tmp_path) == ["val 0", 2, 4, "val 1"]


def test_a_validation_alone_drops_nothing(tmp_path):
    train(tmp_path, 1)
    runner = tiny_runner.build(tmp_path, validate=True, visualizer=VISUALIZER)
    runner.val()
    assert steps(tmp_path)[:3] == [2, 4, "val 1"]


def test_a_half_line_alone_does_not_spoil_the_first_line(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 2, "lo')
    JsonLinesVisBackend(path=str(path)).add_scalars(dict(iter=2, loss=1.0), step=2)
    assert read(tmp_path) == [dict(step=2, iter=2, loss=1.0)]


def test_a_nan_loss_is_null(tmp_path):
    class Spoil(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            runner.message_hub.update_scalar("train/loss", math.nan)

    runner = tiny_runner.build(tmp_path, visualizer=VISUALIZER)
    runner.register_hook(Spoil(), priority="VERY_HIGH")
    runner.train()
    assert {line["loss"] for line in read(tmp_path)} == {None}


@pytest.mark.parametrize("value", [torch.tensor(0.5), np.float32(0.5), np.array(0.5), 0.5])
def test_numbers_of_every_kind_are_written_as_numbers(tmp_path, value):
    backend = JsonLinesVisBackend(save_dir=str(tmp_path / "20250101_000000" / "vis_data"))
    backend.add_scalar("x", value, step=3)
    backend.add_scalars(dict(x=torch.tensor(math.inf)), step=4)
    assert read(tmp_path) == [dict(step=3, x=0.5), dict(step=4, x=None)]


def test_without_a_folder_a_path_is_asked_for():
    with pytest.raises(ValueError, match="needs a path"):
        JsonLinesVisBackend()
