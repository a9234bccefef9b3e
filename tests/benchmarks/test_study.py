# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The study of the readings: paired, resumable, and blind to the test images until the end."""

import json
import os
import sys

import numpy as np
import pytest
import torch
from PIL import Image

SIZES = {"images": 32, "epochs": 2, "batch": 8, "size": 8, "queue": 16, "held-out": 8}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("set")
    rng = np.random.default_rng(0)
    for split, n in (("train", 48), ("test", 12)):
        images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / f"{split}.npz", images=images, labels=np.arange(n) % 4)
    return folder


@pytest.fixture
def study(load, data, tmp_path, monkeypatch):
    """Runs the benchmark with these words; its module."""
    module = load("study")

    def call(*words, sizes=SIZES):
        given = [f"--{name}={value}" for name, value in sizes.items()]
        start = ["study.py", "--data", str(data), "--out", str(tmp_path / "out"), *given]
        monkeypatch.setattr(sys, "argv", [*start, *map(str, words)])
        module.main()

    call.module = module
    return call


def test_cells_are_chosen_on_held_out_images_and_the_finalists_are_compared_on_the_test_images(
    study, tmp_path, capsys
):
    choose = ("--readings", "moco", "queue-kl", "--weight", 1, 4, "--seeds", 0)
    study(*choose)
    files = {f: f.stat().st_mtime_ns for f in (tmp_path / "out/choose").iterdir()}
    assert [f.name for f in sorted(files)] == [
        "moco_tau0.1_weak_0.json",
        "queue-kl_x1_ramp0_tau0.1_weak_0.json",
        "queue-kl_x4_ramp0_tau0.1_weak_0.json",
    ]
    assert all("test" not in json.loads(f.read_text()) for f in files)
    study(*choose)  # nothing is missing
    assert files == {f: f.stat().st_mtime_ns for f in (tmp_path / "out/choose").iterdir()}
    study("--stage", "final", "--seeds", 7, 8)
    runs = [json.loads(f.read_text()) for f in (tmp_path / "out/final").glob("*.json")]
    assert sorted(run["seed"] for run in runs) == [7, 7, 8, 8]
    assert len({run["cell"] for run in runs}) == 2
    assert all(0 <= run["test"]["knn"] <= 100 and "commit" in run["environment"] for run in runs)
    table = (tmp_path / "out/table.md").read_text()
    assert "Difference from MoCo" in table
    assert table in capsys.readouterr().out
    with pytest.raises(SystemExit, match=r"--seeds \[0\] chose the cells"):
        study("--stage", "final", "--seeds", 0)
    with pytest.raises(SystemExit, match="holds runs with other options: epochs was 2, now 4"):
        study(*choose, sizes=SIZES | {"epochs": 4})


def found_of(run, reading, level, temperature=0.1):
    cell, values = run.Cell(reading, temperature), dict(knn=level, ridge=level)
    return dict(cell=cell.name, factors=vars(cell), seed=0, cpu_seconds=1.0) | dict(
        chosen_by=values, test=values
    )


def test_the_untrained_network_takes_no_finalists_place_and_each_moco_is_a_baseline(study, load):
    run = load("study_run")
    chosen = [found_of(run, "untrained", 9), found_of(run, "terms", 5), found_of(run, "moco", 7)]
    cells = study.module.finalists_of(chosen, 1)
    assert [cell.reading for cell in cells] == ["moco", "terms"]
    table = load("study_table").tables(chosen, [*chosen[1:], found_of(run, "moco", 8, 0.2)])
    for base, difference in (("moco_tau0.1_weak", "-2.00"), ("moco_tau0.2_weak", "-3.00")):
        part = table.split(f"Difference from MoCo, {base}")[1].split("##")[0]
        row = next(line for line in part.splitlines() if line.startswith("| terms"))
        assert row.split(" | ")[2].startswith(difference)


def test_a_final_needs_moco_and_another_reading_and_an_out_folder_its_options(study, tmp_path):
    with pytest.raises(SystemExit, match=r"compares MoCo with a reading.*of none"):
        study("--stage", "final")
    (tmp_path / "out/options.json").unlink()
    (tmp_path / "out/choose").mkdir()
    (tmp_path / "out/choose/x.json").write_text("{}")
    with pytest.raises(SystemExit, match=r"options\.json is gone"):
        study()


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("--symmetric", "yes", "--epochs", 3), "--epochs 3 has no half"),
        (("--batch", 12), "--batch 12 must be a multiple of 8"),
        (("--ramp", 2), "--ramp .2.0. is a share"),
        (("--weight", 0), "--weight .0.0. must be above 0"),
        (("--keys", -1), "--keys .-1. must be 0 or more"),
        (("--share", 0.1), "--share .0.1. of --epochs 2 must be 1 to all"),
        (("--as-given",), "--as-given is of --stage final"),
        (("--readings", "teacher-cosine"), "teacher-cosine needs --teacher FILE"),
        (("--readings", "teacher-cosine", "--teacher", "no.pth"), "--teacher no.pth: .*no.pth"),
        (("--held-out", 17), "--images 32 and --held-out 17 do not go into 48"),
        (("--data", "nowhere"), "nowhere has no train.npz, and no train_"),
    ],
)
def test_options_that_make_no_run_are_named(study, words, message):
    with pytest.raises(SystemExit, match=message):
        study(*words)


def test_a_study_that_is_stopped_leaves_no_claim_and_says_how_it_goes_on(
    study, tmp_path, monkeypatch, capsys
):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(study.module, "run", stop)
    with pytest.raises(SystemExit) as ended:
        study("--readings", "moco")
    assert ended.value.code == 130
    assert "the same command makes the runs that are missing" in capsys.readouterr().err
    assert list((tmp_path / "out/choose").iterdir()) == []


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (dict(images=np.zeros((4, 8, 8, 3), np.uint8)), "a label for each, and has .'images'"),
        (dict(images=np.zeros((4, 8, 8, 3), np.uint8), labels=np.arange(3)), r"int64 \(3,\)"),
        (dict(images=np.zeros((4, 8, 8)), labels=np.arange(4)), r"uint8 .*float64 \(4, 8, 8\)"),
    ],
)
def test_arrays_that_are_no_labelled_images_are_named(load, tmp_path, arrays, message):
    np.savez(tmp_path / "train.npz", **arrays)
    with pytest.raises(SystemExit, match=message):
        load("study_data").read_split(tmp_path, "train")


def test_runs_of_one_seed_begin_alike_and_see_the_same_views(load, data, monkeypatch):
    run = load("study_run")
    sets = load("study_data").read_sets(data, 8, 32)
    length = run.Length(images=32, epochs=1, batch=8, size=8, queue=16)
    seen = []

    def first_batches(cell, seed):
        seen.clear()
        run.train(cell, length, seed, sets.train[0], "cpu")
        return torch.stack(seen)

    plain = run.MODELS.get("XMoCo").loss

    def watched(self, inputs, *args, **kwargs):
        weight = self.backbone[0].weight.flatten()[:9].detach().clone()
        seen.append(torch.cat([inputs[0].flatten(), weight if not seen else 0 * weight]))
        return plain(self, inputs, *args, **kwargs)

    monkeypatch.setattr(run.MODELS.get("XMoCo"), "loss", watched)
    moco = first_batches(run.Cell(), 3)
    assert torch.equal(moco, first_batches(run.Cell("queue-kl"), 3))
    assert torch.equal(moco, first_batches(run.Cell("sce-simplex", ramp=0.5), 3))
    assert not torch.equal(moco, first_batches(run.Cell(), 4))


def test_every_reading_builds_and_symmetric_runs_encode_as_many_images(load, data, monkeypatch):
    run = load("study_run")
    sets = load("study_data").read_sets(data, 8, 32)
    length = run.Length(images=32, epochs=2, batch=8, size=8, queue=16)
    counts = {}
    for reading in run.READINGS:
        both = reading == "moco"
        cell = run.Cell(reading, symmetric=both, weight=0.5)
        steps = []
        monkeypatch.setattr(torch.optim.SGD, "step", lambda self, s=steps: s.append(1))
        model = run.train(cell, length, 0, sets.train[0], "cpu")
        counts[reading] = len(steps) * (2 if both else 1)
        terms = (model.head.consistency, model.head.uniformity)
        assert {t.temperature for t in terms if t is not None} <= {0.1}
        if "kl" in reading or "sce" in reading:
            assert model.head.consistency.teacher_temperature == pytest.approx(0.05)
    assert counts.pop("untrained") == 0
    assert set(counts.values()) == {8}


def test_the_held_out_images_are_of_all_classes_and_nobody_trains_on_them(load, data):
    sets = load("study_data").read_sets(data, 8, 32)
    assert sets.chosen_by[1].bincount().tolist() == [2, 2, 2, 2]
    rows = [{tuple(i.flatten().tolist()) for i in part[0]} for part in (sets.train, sets.chosen_by)]
    assert [len(r) for r in rows] == [32, 8]
    assert not rows[0] & rows[1]


def test_mosaics_are_cut_row_by_row_with_a_class_a_tile(load, tmp_path):
    pixels = np.zeros((50 * 32, 40 * 32, 3), np.uint8)
    pixels[32:64, 64:96] = 200  # tile 42
    Image.fromarray(pixels).save(tmp_path / "train_00.jpg", quality=95)
    (tmp_path / "classes.txt").write_text("a\nb\nc\n")
    images, labels = load("study_data").read_split(tmp_path, "train")
    assert images.shape == (2000, 32, 32, 3)
    assert images[42].mean() > 190
    assert np.delete(images, 42, axis=0).max() < 20
    assert labels[:5].tolist() == [0, 1, 2, 0, 1]


def test_a_run_of_a_living_process_is_left_to_it_and_one_of_a_dead_process_is_taken_over(
    load, tmp_path
):
    claim, file = load("study").claim, tmp_path / "cell_0.json"
    assert claim(file)
    assert not claim(file)  # this process lives
    file.with_suffix(".claim").write_text(str(2**22 + 1))
    assert claim(file)
    assert file.with_suffix(".claim").read_text() == str(os.getpid())
    file.write_text("{}")
    assert not claim(file)


def test_differences_keep_seeds_paired(load):
    # Scores of 10 to 50 that differ by 1 in every seed: the spread between seeds plays no part.
    runs = [
        dict(cell=cell, seed=seed, test=dict(knn=10.0 * seed + gain))
        for cell, gain in (("moco_a", 0), ("b", 1))
        for seed in (1, 3, 5)
    ] + [dict(cell="b", seed=9, test=dict(knn=0.0))]
    found = load("study_table").differences(runs, "b", "moco_a", "knn")
    assert found == [1.0, 1.0, 1.0]


def test_of_a_small_bank_fewer_neighbours_vote(load):
    of = load("study_run").neighbours_of
    assert [of(n) for n in (8, 400, 5_000, 20_000, 45_000)] == [8, 20, 50, 200, 200]


@pytest.mark.parametrize("name", ["small", "resnet18-half"])
def test_a_network_of_the_study_has_the_channels_that_its_neck_expects(load, name):
    nets = load("study_nets")
    for in_parts, norm in ((True, "SplitBN"), (False, "BatchNorm2d")):
        config, width = nets.net_of(name, in_parts)
        net = nets.MODELS.build(config | dict(_scope_="mmpretrain"))
        assert net(torch.rand(8, 3, 32, 32))[-1].shape[1] == width
        norms = {type(m).__name__ for m in net.modules() if isinstance(m, torch.nn.BatchNorm2d)}
        assert norms == {norm}
