# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""When the hook speaks, what it records, and that it disturbs nothing."""

import json
import math

import pytest
import torch
from mmengine.dist import get_rank
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.hooks import HealthHook
from xmoco_plugin.hooks.health_hook import VERDICT
from xmoco_plugin.hooks.health_record import HealthRecord, read_health

from .. import models, tiny_runner
from ..multiprocess import run_processes
from .health_run import ALL, PREPROCESSOR, build


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and scalars of a run of 8 epochs with a kNN and TensorBoard."""
    folder = tmp_path_factory.mktemp("finished")
    visualizer = dict(
        type="Visualizer",
        vis_backends=[dict(type="LocalVisBackend"), dict(type="TensorboardVisBackend")],
    )
    runner = build(
        folder,
        validate=True,
        visualizer=visualizer,
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=8, val_interval=2),
        hooks=[dict(type="RunSummaryHook", picture=False)],
    )
    runner.train()
    data = next(folder.glob("*/vis_data"))
    rows = [json.loads(line) for line in (data / "scalars.json").read_text().splitlines()]
    return folder, data, rows


def test_every_epoch_has_one_line_with_its_verdict_values_and_histograms(finished):
    lines = read_health(finished[0] / "health.jsonl")
    assert [(line["epoch"], line["iter"]) for line in lines] == [(e, 4 * e) for e in range(1, 9)]
    for line in lines:
        assert line["verdict"] in ("learning", "collapsing", "not learning", "too early")
        assert line["reason"]
        assert set(line["values"]) == ALL
        assert all(math.isfinite(value) for value in line["values"].values())
        # Two looks an epoch: 4 images, 24 keys.
        for name, count in (("hist_pos", 8), ("hist_neg", 8 * models.QUEUE)):
            assert len(line[name]["edges"]) == 41
            assert line[name]["edges"][::40] == [-1, 1]
            assert sum(line[name]["counts"]) == count


def test_every_value_reaches_the_log_file_and_tensorboard(finished):
    _, data, rows = finished
    events = EventAccumulator(str(data)).Reload()
    logged = [row for row in rows if "health/dim_std" in row]
    assert len(logged) >= 8
    for name in ALL:
        tag = f"health/{name}"
        assert tag in logged[0]
        points = events.Scalars(tag)
        assert [point.value for point in points] == pytest.approx([row[tag] for row in logged])


def test_no_name_contains_loss_so_that_the_engine_sums_none_up(finished):
    assert not any("loss" in name for name in ALL)
    row = next(row for row in finished[2] if "loss" in row)
    parts = sum(row[name] for name in ("loss_nce", "loss_consistency", "loss_uniformity"))
    assert row["loss"] == pytest.approx(parts, rel=1e-5)


def test_a_verdict_knows_the_validation_that_followed_its_epoch(tmp_path):
    seen = []

    class Watched(HealthHook):
        def _accuracy(self, runner):
            seen.append((runner.iter, [at for at, _ in self._accuracies]))
            return super()._accuracy(runner)

    HOOKS.register_module(module=Watched, force=True)
    build(
        tmp_path,
        validate=True,
        health=dict(type="Watched"),
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=4, val_interval=2),
    ).train()
    assert seen == [(4, []), (8, [8]), (12, [8]), (16, [8, 16])]


def test_the_first_epochs_are_too_early_until_queue_and_key_encoder_are_filled(finished):
    lines = read_health(finished[0] / "health.jsonl")
    # 24 keys take 6 iterations; an update rate of 0.01 averages over 100, more than the run has.
    assert all(line["verdict"] == "too early" for line in lines)
    assert "0% full" in lines[0]["reason"]
    assert "100 iterations" in lines[-1]["reason"]
    fill = [line["values"]["queue_fill"] for line in lines[:2]]
    assert fill[0] < fill[1] <= 1


def test_a_linear_warmup_is_too_early(tmp_path):
    scheduler = dict(type="LinearLR", start_factor=0.1, by_epoch=True, begin=0, end=3)
    model = models.config(momentum=0.99, queue_len=4, data_preprocessor=PREPROCESSOR)
    build(tmp_path, epochs=4, model=model, param_scheduler=scheduler).train()
    lines = read_health(tmp_path / "health.jsonl")
    # The factor is 1 from the third epoch on.
    early = [line["verdict"] == "too early" for line in lines]
    assert early == [True, True, False, False]
    assert "warmed up" in lines[1]["reason"]


def test_accuracies_survive_a_resume(tmp_path):
    model = models.config(momentum=0.99, queue_len=4, data_preprocessor=PREPROCESSOR)
    options = dict(model=model, validate=True, hooks=[dict(type="RunSummaryHook", picture=False)])
    loop = dict(type="EpochBasedTrainLoop", val_interval=1)
    build(tmp_path, train_cfg=loop | dict(max_epochs=1), **options).train()
    runner = build(tmp_path, train_cfg=loop | dict(max_epochs=2), resume=True, **options)
    runner.train()
    hook = next(hook for hook in runner.hooks if isinstance(hook, HealthHook))
    # A checkpoint is written before the validation of its epoch: that of iteration 4 is not in it.
    assert [at for at, _ in hook._accuracies] == [0, 8]


def test_resuming_from_an_earlier_epoch_drops_the_lines_that_are_done_again(tmp_path):
    build(tmp_path, epochs=3).train()
    with open(tmp_path / "health.jsonl", "a") as file:
        file.write('{"epoch": 4, "it')  # a run killed while it wrote
    again = dict(resume=True, load_from=str(tmp_path / "epoch_1.pth"))
    build(tmp_path, epochs=3, **again).train()
    assert [line["epoch"] for line in read_health(tmp_path / "health.jsonl")] == [1, 2, 3]
    assert (tmp_path / "health.jsonl").read_text().count("\n") == 3


def test_a_new_run_in_an_old_folder_starts_a_new_record(tmp_path):
    build(tmp_path, epochs=2).train()
    build(tmp_path, epochs=1).train()
    assert [line["epoch"] for line in read_health(tmp_path / "health.jsonl")] == [1]


def test_training_is_the_same_bit_for_bit_with_and_without_the_hook(tmp_path):
    build(tmp_path / "watched", health=dict(interval=1)).train()
    tiny_runner.build(tmp_path / "plain").train()
    watched, plain = (
        read_checkpoint(tmp_path / name / "epoch_2.pth")["state_dict"]
        for name in ("watched", "plain")
    )
    for key, value in plain.items():
        assert torch.equal(value, watched[key]), key


def test_a_model_without_pairs_trains_on_and_says_that_nothing_was_seen(tmp_path):
    loader = tiny_runner.loader(views=False)
    build(tmp_path, epochs=1, model=models.classifier(), train_dataloader=loader).train()
    line = read_health(tmp_path / "health.jsonl")[0]
    assert line["verdict"] == "too early"
    assert "no similarities" in line["reason"]


def test_training_counted_in_iterations_has_a_verdict_every_pass_over_the_data(tmp_path):
    build(
        tmp_path,
        train_cfg=dict(type="IterBasedTrainLoop", max_iters=10),
        train_dataloader=tiny_runner.loader(infinite=True),
    ).train()
    assert [line["iter"] for line in read_health(tmp_path / "health.jsonl")] == [4, 8]


def test_a_failing_verdict_is_a_warning_in_the_log(tmp_path):
    model = models.config(momentum=0.99, queue_len=4, data_preprocessor=PREPROCESSOR)
    model["head"]["temperature"] = 100.0
    runner = build(tmp_path, epochs=2, model=model)
    said = []
    runner.logger.warning = said.append
    runner.train()
    assert any(line.startswith("health: not learning: at a temperature of 100") for line in said)


def test_a_validation_without_training_is_left_alone(tmp_path):
    runner = build(tmp_path, validate=True)
    runner.val()
    assert not (tmp_path / "health.jsonl").exists()


def test_other_hooks_find_the_latest_verdict_in_the_message_hub_also_after_a_resume(tmp_path):
    class Look(Hook):
        def __init__(self):
            self.seen = []

        def before_train_iter(self, runner, batch_idx, data_batch=None):
            self.seen.append(runner.message_hub.runtime_info.get(VERDICT, {}).get("epoch"))

    def train(**options):
        runner, look = build(tmp_path, epochs=3, **options), Look()
        runner.register_hook(look, priority="LOW")
        runner.train()
        return look.seen, runner.message_hub.get_info(VERDICT)

    seen, last = train()
    assert seen == [None] * 4 + [1] * 4 + [2] * 4
    line = read_health(tmp_path / "health.jsonl")[-1]
    assert last == {
        name: line.get(name) for name in ("epoch", "iter", "verdict", "reason", "not_finite")
    }
    # The verdict on epoch 2 is not in the checkpoint of epoch 2, which is older.
    resumed = train(resume=True, load_from=str(tmp_path / "epoch_2.pth"))
    assert resumed[0] == [2] * 4


def test_numbers_that_are_no_json_are_left_out_of_the_record(tmp_path):
    record = HealthRecord(tmp_path / "health.jsonl")
    with pytest.raises(ValueError):
        record.append({"iter": 1, "values": {"x": math.nan}})
    assert not (tmp_path / "health.jsonl").exists()


def test_intervals_below_one_are_refused():
    with pytest.raises(ValueError, match="got 0"):
        HealthHook(interval=0)


def train_distributed(rank, size, folder):
    """A run on two processes; what this rank's log holds at the end."""
    runner = build(
        folder,
        launcher="pytorch",
        model_wrapper_cfg=dict(
            type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None
        ),
    )
    runner.train()
    scalars = runner.message_hub.log_scalars
    assert get_rank() == rank
    return {name: scalars[f"train/health/{name}"].current() for name in ALL}


def test_two_processes_have_the_same_numbers_and_the_first_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    first, second = run_processes(train_distributed, 2, str(tmp_path))
    assert first == second
    lines = read_health(tmp_path / "health.jsonl")
    assert [line["epoch"] for line in lines] == [1, 2]
    # 2 iterations of 2 x 4 images an epoch, each looked at.
    assert sum(lines[0]["hist_pos"]["counts"]) == 16
