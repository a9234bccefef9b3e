# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The study of good weights: its sets, its paired runs, and what its tables say."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from mmpretrain.registry import MODELS
from PIL import Image

WORDS = {"size": 32, "shown": 16, "bank": 16, "queries": 8, "looks": 2}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A set of 16 and 8 images, and weights of a network that begins with them."""
    folder, rng = tmp_path_factory.mktemp("starts"), np.random.default_rng(0)
    (folder / "dots").mkdir()
    for split, n in (("train", 16), ("test", 8)):
        images = rng.integers(0, 256, (n, 32, 32, 3), dtype=np.uint8)
        np.savez(folder / "dots" / f"{split}.npz", images=images, labels=np.arange(n) % 2)
    torch.manual_seed(0)
    backbone = MODELS.build(dict(type="MobileNetV2", _scope_="mmpretrain"))
    torch.save({f"backbone.{k}": v for k, v in backbone.state_dict().items()}, folder / "init.pth")
    return folder


@pytest.fixture
def starts(load, data, tmp_path, monkeypatch):
    """Runs the benchmark with these words."""
    module = load("starts")

    def call(*words, **changed):
        given = [f"--{name}={value}" for name, value in (WORDS | changed).items()]
        given += ["--model", "MobileNetV2", "--init", str(data / "init.pth"), *words]
        start = ["starts.py", "--data", str(data), "--out", str(tmp_path / "out"), *given]
        monkeypatch.setattr(sys, "argv", start)
        module.main()

    return call


def test_runs_begin_with_the_weights_that_are_given_and_are_compared_with_them(
    starts, tmp_path, capsys
):
    words = "--sets", "dots", "--cells", "moco:1e-3", "features-kl:1e-3:norms", "--seeds", "0"
    starts(*words)
    files = {f: f.stat().st_mtime_ns for f in (tmp_path / "out/dots").glob("*.json")}
    found = [json.loads(f.read_text()) for f in files]
    assert {run["cell"] for run in found} == {"moco_0.001", "features-kl_0.001_norms"}
    one, two = (run["looks"] for run in found)
    assert len(one) == 3
    assert one[0] == two[0]  # before anything has been trained
    assert one[0]["kept"] == 1.0
    assert one[2] != two[2]
    table = (tmp_path / "out/table.md").read_text()
    assert "Rank correlation" in table
    assert table in capsys.readouterr().out
    starts(*words)  # nothing is missing
    assert files == {f: f.stat().st_mtime_ns for f in (tmp_path / "out/dots").glob("*.json")}
    with pytest.raises(SystemExit, match="holds runs with other options: shown was 16, now 32"):
        starts(*words, shown=32)


@pytest.mark.parametrize("word", ["mocco:1e-3", "moco:fast", "moco:2", "moco:1e-3:stem", "moco"])
def test_a_cell_that_is_none_is_refused_with_those_that_are(starts, word):
    with pytest.raises(SystemExit, match=rf"--cells {word}: .*There are moco, terms, features-kl"):
        starts("--cells", word)


def test_weights_that_are_not_there_and_sizes_that_are_none_are_refused(starts):
    with pytest.raises(SystemExit, match=r"--init gone\.pth: there is no such file"):
        starts("--init", "gone.pth")
    with pytest.raises(SystemExit, match="--looks 0 must be at least 1"):
        starts(looks=0)


def test_of_one_seed_all_cells_see_the_same_views_and_norms_train_alone(load, data, monkeypatch):
    run, seen = load("starts_run"), []
    length = run.Length("MobileNetV2", *(WORDS[name] for name in list(WORDS)))
    plain = MODELS.get("XMoCo").loss

    def watched(self, inputs, *args, **kwargs):
        seen.append((inputs[0].clone(), self.backbone.conv1.conv.weight.detach().clone()))
        return plain(self, inputs, *args, **kwargs)

    monkeypatch.setattr(MODELS.get("XMoCo"), "loss", watched)
    for cell in (run.Cell(lr=1e-2), run.Cell("terms", 1e-2, "norms")):
        run.run(cell, length, 3, Path(data / "dots"), data / "init.pth")
    moco, terms = seen[: len(seen) // 2], seen[len(seen) // 2 :]
    assert len(moco) == 4
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(moco, terms, strict=True))
    assert not torch.equal(moco[0][1], moco[-1][1])
    assert torch.equal(terms[0][1], terms[-1][1])


def test_a_resnet_has_the_parts_and_the_layout_that_pretrain_chooses(load):
    run = load("starts_run")
    model, choices = run.model_of(run.Cell(), run.Length("resnet18", 32), 1000)
    assert choices.batch_size == 64
    assert model["backbone"]["norm_cfg"] == dict(type="SplitBN", num_splits=choices.splits)
    assert (choices.splits, model.get("channels_last", False)) == (2, False)


def test_every_image_is_shown_once_before_one_comes_again(load):
    rows = list(load("starts_run").batches(10, 4, 5, torch.Generator().manual_seed(0)))
    assert [len(batch) for batch in rows] == [4] * 5
    assert len(set(torch.cat(rows[:2]).tolist())) == 8
    assert len(set(torch.cat(rows[2:4]).tolist())) == 8


def test_ranks_share_their_places_and_their_correlation_is_that_of_orders(load):
    table = load("starts_table")
    assert table.ranks([3.0, 1.0, 3.0, 9.0]).tolist() == [1.5, 0.0, 1.5, 3.0]
    assert table.spearman([1, 2, 3, 4], [10, 20, 30, 1000]) == pytest.approx(1)
    # By hand: 1 - 6 (0 + 1 + 1 + 0) / (4 * 15).
    assert table.spearman([1, 2, 3, 4], [1, 3, 2, 4]) == pytest.approx(0.8)
    assert np.isnan(table.spearman([1, 1], [1, 2]))


def look(knn, rank):
    return dict(knn=knn, ridge=knn, rank=rank, alignment=1, uniformity=rank, found=1, kept=1)


def test_gains_are_paired_by_seed_and_criteria_are_taken_from_the_start(load):
    table = load("starts_table")
    runs = [
        dict(set=name, cell=cell, seed=seed, cpu_seconds=1.0)
        | dict(looks=[look(level, 5), look(level + gain, 5 + gain), look(level + 2 * gain, 9)])
        for name, level in (("near", 90), ("far", 10))
        for cell, gain in (("moco_0.001", 1), ("terms_0.001", 2))
        for seed in (0, 1)
    ]
    text = table.tables(runs)
    assert "| near | terms_0.001 | 2 | +2.0 (+2.0 to +2.0) | +2.0 (+2.0 to +2.0) |" in text
    assert "| far | moco_0.001 | 0, 1 | 10.0, 11.0, 12.0 | +2.0 ± 0.0 | +2.0 ± 0.0 | 1 |" in text
    # The sets' levels play no part: of each run the points (1, 1), (4, 2) or (2, 2), (4, 4).
    points = table.moved(runs[:3:2], "rank")
    assert points == [[(1, 1), (4, 2)], [(2, 2), (4, 4)]]
    assert table.correlation(runs, "rank")[0] == pytest.approx(
        table.spearman([1, 4, 2, 4], [1, 2, 2, 4])
    )


def test_tiles_and_photographs_get_their_labels_and_keep_train_and_test_apart(load, tmp_path):
    sets = load("starts_sets")
    for split, stripe in (("train", 40), ("val", 110)):
        for kind in ("img_dir", "ann_dir"):
            (tmp_path / kind / split).mkdir(parents=True)
        Image.new("RGB", (212, 110), (stripe, 0, 0)).save(tmp_path / f"img_dir/{split}/a.png")
        mask = np.full((110, 212), 255, np.uint8)
        mask[:, :stripe] = 3  # covers 38 % of the first tile, then all of it
        Image.fromarray(mask).save(tmp_path / f"ann_dir/{split}/a.png")
    tiles = sets.satellite(tmp_path)
    assert [label for _, label in tiles["train"]] == []
    assert [label for _, label in tiles["test"]] == [3]
    assert tiles["test"][0][0].shape == (96, 96, 3)
    boxes = [(1, 10, 10), (2, 170, 10), (1, 175, 10), (3, 10, 170), (3, 170, 170), (3, 180, 170)]
    found = dict(
        images=[dict(id=7, file_name="a.png")],
        categories=[dict(id=1, name="Platelets"), dict(id=2, name="WBC"), dict(id=3, name="RBC")],
        annotations=[dict(image_id=7, category_id=k, bbox=[x, y, 4, 4]) for k, x, y in boxes],
    )
    (tmp_path / "annotations").mkdir()
    for split in ("train", "val"):
        (tmp_path / split).mkdir()
        Image.new("RGB", (330, 320)).save(tmp_path / f"{split}/a.png")
        (tmp_path / f"annotations/{split}.json").write_text(json.dumps(found))
    assert [label for _, label in sets.cells(tmp_path)["train"]] == [1, 0, 3, 2]
    for split, count in (("train", 29), ("val", 3)):
        (tmp_path / "photos" / split / "tulip").mkdir(parents=True)
        for i in range(count):
            Image.new("RGB", (9, 8)).save(tmp_path / f"photos/{split}/tulip/{i:02d}.png")
    photos = sets.flowers(tmp_path / "photos")
    assert [len(photos[part]) for part in ("train", "test")] == [30, 2]
