# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import json
import logging
import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from PIL import Image

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.hooks import RunSummaryHook
from xmoco_plugin.hooks.run_record import RunRecord

from .. import models, tiny_runner
from ..multiprocess import run_processes
from .summary_run import build, read

PREPROCESSOR = dict(type="SelfSupDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Folder and runner of a run of 2 epochs."""
    folder = tmp_path_factory.mktemp("finished")
    runner = build(folder)
    lines = []
    info = runner.logger.info
    runner.logger.info = lambda text, **more: (lines.append(text), info(text, **more))
    runner.train()
    return folder, runner, lines


def test_accuracy_is_known_before_the_first_iteration_and_after_the_last(finished):
    folder, runner, _ = finished
    record = read(folder)
    assert [x for x, _ in record["accuracy"]] == [0, 1, 2]
    assert record["metric"] == "accuracy/top1"
    assert record["knn_before"] == record["accuracy"][0][1]
    assert record["knn_after"] == record["accuracy"][-1][1]
    assert record["largest_class"] == 25
    assert record["raw_pixels"] == runner.val_loop.raw_pixel_accuracy()


def test_each_loss_term_has_the_mean_of_its_part_of_an_epoch(tmp_path):
    seen = []

    class Note(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            seen.append(outputs["loss_nce"].item())

    runner = build(tmp_path, validate=False, summary=dict(points_per_epoch=2, picture=False))
    runner.register_hook(Note())
    runner.train()
    losses = read(tmp_path)["losses"]
    assert sorted(losses) == ["loss_consistency", "loss_nce", "loss_uniformity"]
    expected = [[(i + 1) / 2, np.mean(seen[2 * i : 2 * i + 2])] for i in range(4)]
    np.testing.assert_allclose(losses["loss_nce"], expected, rtol=1e-6)


def test_the_picture_is_a_png_and_the_maps_lie_beside_it(finished):
    folder, _, _ = finished
    with Image.open(folder / "summary.png") as picture:
        assert picture.format == "PNG"
        assert len(set(picture.convert("RGB").resize((99, 99)).getdata())) > 20
    with np.load(folder / "summary_maps.npz") as maps:
        assert maps["labels"].tolist() == [0, 0, 1, 1, 2, 2, 3, 3]
        assert maps["before"].shape == maps["after"].shape == (8, 8)
        assert np.abs(maps["before"] - maps["after"]).max() > 0.05
        off = ~np.eye(8, dtype=bool)
        after = read(folder)["similarity"]["after"]
        assert after["negative"] == pytest.approx(maps["after"][off].mean(), abs=1e-5)
        asymmetry = np.abs(maps["after"] - maps["after"].T)[off].mean()
        assert after["asymmetry"] == pytest.approx(asymmetry, abs=1e-5)


def test_the_last_lines_say_what_was_learnt_and_where_it_lies(finished):
    folder, runner, lines = finished
    record, text = read(folder), lines[-1]
    for part in (
        f"kNN before training  {record['knn_before']:.1f} %",
        f"kNN after training   {record['knn_after']:.1f} %",
        f"kNN on raw pixels    {record['raw_pixels']:.1f} %",
        "largest class        25.0 %",
        str(folder / "epoch_2.pth"),
        str(folder / "summary.png"),
        f"{runner.timestamp}.log",
        "seconds",
    ):
        assert part in text
    assert text.count(f"({len(runner.val_loop.dataloader.dataset)} queries)") == 3
    assert "verdict" not in text  # no HealthHook ran
    assert len({len(line) for line in text.strip().splitlines()}) == 1  # a closed frame


@pytest.mark.parametrize(
    ("value", "queries", "metric", "text"),
    [
        (36.0, 25, "accuracy/top1", "36.0 % ± 9.6 (25 queries)"),
        (50.0, 2500, "k200_T0.1/accuracy/top1", "50.0 % ± 1.0 (2,500 queries)"),
        (100.0, 4, "accuracy/top1", "100.0 % ± 0.0 (4 queries)"),
        (36.0, None, "accuracy/top1", "36.0 %"),  # the record of an older run
        (36.0, 25, "single-label/f1-score", "36.0 %"),  # no share of the queries
        (None, 25, "accuracy/top1", "not measured"),
    ],
)
def test_a_share_has_its_queries_and_standard_error(value, queries, metric, text):
    assert RunRecord(queries=queries, metric=metric).percent(value) == text


def test_the_last_verdict_stands_in_the_frame(tmp_path):
    hooks = [dict(type="HealthHook", interval=1), dict(type="RunSummaryHook", picture=False)]
    runner = tiny_runner.build(tmp_path, hooks=hooks, train_cfg=dict(by_epoch=True, max_epochs=2))
    runner.train()
    last = json.loads((tmp_path / "health.jsonl").read_text().splitlines()[-1])
    assert last["epoch"] == 2
    assert read(tmp_path)["verdict"] == f"{last['verdict']}: {last['reason']}"
    lines = next(h for h in runner.hooks if isinstance(h, RunSummaryHook)).framed().splitlines()
    [row] = [line for line in lines if line.startswith("│ verdict ")]
    assert last["verdict"] in row
    assert len({len(line) for line in lines}) == 1  # a long reason is wrapped
    assert len(lines[0]) <= max(100, len(str(tmp_path)) + 100)


def test_training_is_the_same_with_and_without_the_summary(tmp_path):
    def weights(folder, hooks):
        tiny_runner.build(folder, hooks=hooks).train()
        return read_checkpoint(folder / "epoch_2.pth")["state_dict"]

    plain = weights(tmp_path / "plain", [])
    # A validation as such draws from the random state: it is not part of this comparison.
    watched = weights(tmp_path / "watched", [dict(type="RunSummaryHook", num_images=8)])
    for key, value in plain.items():
        assert torch.equal(value, watched[key]), key


def test_the_first_validation_leaves_all_random_states_as_they_were(tmp_path):
    states = []

    class Note(Hook):
        priority = "VERY_LOW"

        def before_train(self, runner):
            states.append(
                (
                    random.getstate(),
                    np.random.get_state()[1].tolist(),
                    torch.get_rng_state().tolist(),
                )
            )

        def before_train_epoch(self, runner):
            self.before_train(runner)

    runner = build(tmp_path, epochs=1)
    runner.register_hook(Note())
    runner.train()
    assert states[0] == states[1]


def test_the_fixed_batch_is_the_same_before_and_after(tmp_path):
    runner = build(
        tmp_path,
        validate=False,
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=0.0)),
        model=models.config(
            norm=False, backbone=dict(type="TinyEncoder"), data_preprocessor=PREPROCESSOR
        ),
    )
    for module in runner.model.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.momentum = 0.0
    runner.train()
    with np.load(tmp_path / "summary_maps.npz") as maps:
        np.testing.assert_array_equal(maps["before"], maps["after"])


def test_a_resumed_run_keeps_how_it_began_and_goes_on_with_the_curve(finished, tmp_path):
    folder = tmp_path / "copy"
    shutil.copytree(finished[0], folder)
    first = read(folder)
    runner = build(folder, epochs=3, resume=True)
    runner.train()
    second = read(folder)
    for key in ("knn_before", "raw_pixels", "largest_class"):
        assert second[key] == first[key]
    assert second["similarity"]["before"] == first["similarity"]["before"]
    assert second["accuracy"][:3] == first["accuracy"]
    assert [x for x, _ in second["accuracy"]] == [0, 1, 2, 3]
    assert [x for x, _ in second["losses"]["loss_nce"]] == [(i + 1) / 4 for i in range(12)]
    assert second["seconds"] > first["seconds"]


def test_resuming_from_an_earlier_epoch_drops_what_is_done_again(tmp_path):
    build(tmp_path, epochs=3, summary=dict(picture=False)).train()
    build(
        tmp_path,
        epochs=3,
        summary=dict(picture=False),
        resume=True,
        load_from=str(tmp_path / "epoch_1.pth"),
    ).train()
    record = read(tmp_path)
    assert [x for x, _ in record["accuracy"]] == [0, 1, 2, 3]
    assert [x for x, _ in record["losses"]["loss_nce"]] == [(i + 1) / 4 for i in range(12)]


def test_a_lost_summary_is_said_to_be_lost(tmp_path):
    no_picture = dict(validate=False, summary=dict(picture=False))
    build(tmp_path, **no_picture).train()
    (tmp_path / "summary.json").write_text("{")
    runner = build(tmp_path, epochs=3, resume=True, **no_picture)
    said = []
    runner.logger.warning = said.append
    runner.train()
    assert any("no whole summary.json" in line for line in said)
    assert read(tmp_path)["knn_before"] is None


def record_taken_up(rank: int, size: int, folder: str) -> list:
    """What a rank knows after a resume where only rank 0 finds the summary."""
    place = Path(folder, str(rank))
    place.mkdir()
    if rank == 0:
        RunRecord(knn_before=10.0, accuracy=[[0, 10.0]]).write(place / "summary.json")
    hook = RunSummaryHook(picture=False)
    hook.before_train(
        SimpleNamespace(
            iter=4, work_dir=str(place), train_loop=object(), train_dataloader=[0], logger=logging
        )
    )
    return [hook.record.knn_before, hook.record.accuracy]


def test_every_process_takes_up_the_summary_of_the_first(tmp_path):
    first, second = run_processes(record_taken_up, 2, str(tmp_path))
    assert first == second == [10.0, [[0, 10.0]]]


def test_one_image_is_refused():
    with pytest.raises(ValueError, match="got 1"):
        RunSummaryHook(num_images=1)
