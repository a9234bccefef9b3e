# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The page as a file: valid, whole, self-contained, and honest about what is missing."""

import re
import shutil

import pytest
import torch

from xmoco_plugin.visualization.report import WorkDir
from xmoco_plugin.visualization.report.pictures import Pictures

from . import made_runs
from .conftest import report

SECTIONS = ("knn", "losses", "health", "maps", "histograms", "neighbours", "tsne", "views")


@pytest.fixture(params=["single", "pair"])
def page(request):
    return request.getfixturevalue(request.param)


def test_tags_close_what_they_open_and_no_id_comes_twice(page):
    assert page.faults == []
    ids = page.values("id")
    assert len(ids) == len(set(ids))


def test_references_of_a_page_lead_somewhere_within_it(page):
    ids = set(page.values("id"))
    inner = [ref[1:] for ref in page.values("href") if ref.startswith("#")]
    inner += re.findall(r"url\(#([^)]+)\)", page.text)
    inner += page.values("aria-labelledby")
    assert len(inner) > 50
    assert set(inner) <= ids


def test_nothing_comes_from_outside(page):
    for reference in page.values("href", "src", "srcset", "action", "xlink:href"):
        assert reference.startswith(("#", "data:"))
    assert page.of("script") == page.of("iframe") == []
    assert not re.search(r"@import|https?://|url\((?!#)", page.text)


def test_every_image_says_what_it_shows(page):
    assert all(image["alt"].strip() for image in page.of("img"))
    svgs = page.of("svg")
    assert svgs
    assert all(svg["role"] == "img" and svg["aria-label"].strip() for svg in svgs)
    assert len(page.of("figure")) == len(page.of("figcaption")) > 15


def test_a_finished_run_has_every_figure_and_nothing_is_missing(single):
    ids = set(single.values("id"))
    assert set(SECTIONS) <= ids
    assert {"curve-loss", "curve-loss-nce", "curve-metric-accuracy-top1", "curve-lr"} <= ids
    assert {"map-0-0", "map-0-1", "map-0-2", "histogram-0-pos", "histogram-0-neg"} <= ids
    # QuietRunner logs no environment, and a config made in memory has no file to be found by.
    assert [line.split(":")[0] for line in single.missing] == [
        "The environment",
        "Differences of the config from the host's",
    ]
    for moment in ("start (before training, as recorded)", "middle (epoch 2)", "end (epoch 4)"):
        assert moment in single.words
    assert single.path.stat().st_size < 5e6


def test_the_verdict_comes_with_its_reason_and_history(single):
    assert "✓ learning (epoch 4)" in single.words
    assert "InfoNCE at 0.60 of its uninformed value" in single.words
    assert "epoch 1: too early epochs 2–4: learning" in single.words


def test_text_in_charts_is_text(single):
    drawn = single.words
    for words in ("accuracy (%)", "epoch", "similarity (cosine)", "key j (second view)"):
        assert words in drawn


def test_two_runs_share_their_charts_and_stand_side_by_side_elsewhere(pair):
    ids = set(pair.values("id"))
    assert {"neighbours-0", "neighbours-1", "tsne-0", "tsne-1", "map-1-2"} <= ids
    assert "xmoco against moco <b>" in pair.words
    assert pair.of("b") == []
    assert len([i for i in ids if i == "curve-loss"]) == 1
    assert re.search(r"xmoco: \S+ at epoch 4; moco <b>: \S+ at epoch 4\.", pair.words)


def test_what_the_health_hook_writes_is_what_is_drawn(pair):
    ids = set(pair.values("id"))
    assert {"histogram-1", "histogram-1-pos", "histogram-1-neg", "curve-health-dim-std"} <= ids
    assert re.search(r"moco <b> \S (learning|collapsing|not learning|too early)", pair.words)
    assert "as logged" not in pair.words  # every value has its title and unit


def test_settings_in_which_runs_differ_are_listed(pair):
    assert re.search(r"Settings in which the runs differ.*randomness\.seed 0 1", pair.words)


def test_a_crashed_run_with_half_a_log_is_reported_as_far_as_it_goes(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "crashed")
    for file in (*folder.glob("*.pth"), *folder.glob("summary*"), folder / "health.jsonl"):
        file.unlink()
    log = next(folder.glob("*/vis_data/scalars.json"))
    log.write_text(log.read_text()[: len(log.read_text()) // 2])
    page = report(tmp_path / "report.html", WorkDir.read(folder))
    assert "no verdict" in page.words
    missing = page.words.split("Missing in this report")[1]
    assert "there is no epoch_*.pth" in missing
    assert "no health.jsonl" in missing
    ids = set(page.values("id"))
    assert "curve-loss-nce" in ids
    assert not {"maps", "neighbours", "tsne", "histograms"} & ids
    assert page.faults == []


def test_missing_data_are_named_with_the_folder_that_was_looked_for(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "moved")
    config = next(folder.glob("*.py"))
    gone = "type='CustomDataset', data_root='gone/images'"
    config.write_text(config.read_text().replace("type='TinyImages'", gone))
    run = WorkDir.read(folder)
    pictures = Pictures.draw(run, 0, images=16, say=lambda text: None)
    assert pictures == Pictures()
    assert "gone/images" in run.missing[-1]


def test_a_damaged_last_checkpoint_is_named_and_the_views_are_drawn(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "damaged")
    (folder / "epoch_4.pth").write_bytes((folder / "epoch_4.pth").read_bytes()[:500])
    run = WorkDir.read(folder)
    pictures = Pictures.draw(run, 0, images=16, say=lambda text: None)
    assert pictures.views is not None
    assert pictures.neighbours is None
    assert any("epoch_4.pth is cut off" in line for line in run.missing)


def test_a_checkpoint_of_another_model_is_named_with_what_differs(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "other")
    torch.save({"state_dict": {"backbone.conv.weight": torch.zeros(2)}}, folder / "epoch_4.pth")
    run = WorkDir.read(folder)
    Pictures.draw(run, 0, images=16, say=lambda text: None)
    found = [line for line in run.missing if "epoch_4.pth does not hold the model" in line]
    assert found
    assert "backbone.conv.weight" in found[0]


def test_diverged_weights_are_said_to_have_diverged(finished, tmp_path):
    folder = shutil.copytree(finished, tmp_path / "diverged")
    saved = torch.load(folder / "epoch_4.pth", weights_only=False)
    for value in saved["state_dict"].values():
        value.fill_(torch.nan) if value.is_floating_point() else None
    torch.save(saved, folder / "epoch_4.pth")
    run = WorkDir.read(folder)
    pictures = Pictures.draw(run, 0, images=16, say=lambda text: None)
    assert list(pictures.maps.maps) == ["start (before training, as recorded)", "middle (epoch 2)"]
    said = " ".join(run.missing)
    for part in ("The similarity map of epoch 4:", "Features of up to 16 images"):
        why = said.split(part)[1]
        assert "'queue' holds 192" in why
        assert "values that are not finite" in why
        assert "has diverged" in why


def test_only_a_log_is_enough_for_a_report(tmp_path):
    made_runs.write_scalars(
        tmp_path / "run", "20260101_000000", [made_runs.step(i, 5.0 - i) for i in (1, 2)]
    )
    page = report(tmp_path / "report.html", WorkDir.read(tmp_path / "run"))
    assert "curve-loss" in page.values("id")
    assert "there is no *.py in the work dir" in page.words
