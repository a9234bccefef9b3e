# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""xmoco compare: fair to every start, judged on what it did not train on, and what it says."""

import json
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.models import ResNet

from ..format_once import leave_unformatted
from ..tool_modules import import_tool, run_tool
from .drawn import draw
from .hosts import needs_mmdet, needs_mmseg
from .pretended import pretend
from .small import DETECTOR, FEW_PROPOSALS, ROOT, SEGMENTOR, SMALL_DETECTOR, WIDTH


@pytest.fixture
def tool():
    """tools/compare.py as a module."""
    return import_tool("compare")


@pytest.fixture
def fine_tunings(monkeypatch) -> list[Path]:
    """The trained configs, none of which is.

    A rate of 3 suits weights, one of 0.3 random ones. With 25 % of the labels weights are better by
    2, 3, 4, 5, 6 points, with all of them by -2, -1, 0, 1, 2.
    """

    def metrics(config: Path) -> dict:
        start, seed = config.parents[1].name, int(config.stem[-1])
        if "rates" in config.parts:
            best = {"scratch": "x0.3"}.get(start, "x3")
            value = 20.0 + 5 * (config.parent.name == best)
        else:
            value = 30.0 + 10 * seed  # the spread of the seeds: it must not count
            if start != "scratch":
                value += seed + (2 if config.parent.name == "25pct" else -2)
        return {"coco/bbox_mAP": value / 100, "mIoU": value}

    return pretend(monkeypatch, metrics)


def names_in(file: str) -> set[str]:
    return {image["file_name"] for image in json.loads(Path(file).read_text())["images"]}


@needs_mmdet
def test_each_start_gets_its_rate_from_training_images_and_the_verdict_is_of_pairs(
    tool, data, weights, fine_tunings, monkeypatch, tmp_path, capsys
):
    work = tmp_path / "work"
    arguments = [
        "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", work,
        "--starts", f"scratch,mine={weights}", "--shares", "25,100",
    ]  # fmt: skip
    assert run_tool(tool, monkeypatch, *arguments) == 0
    trials, rest = fine_tunings[:8], fine_tunings[8:]  # three rates, and one beyond the best
    assert len(rest) == 2 * 2 * 5
    base = Config.fromfile(ROOT / DETECTOR).optim_wrapper.optimizer.lr
    for file in trials:
        cfg = Config.fromfile(file)
        judged = cfg.test_evaluator.ann_file
        trained_on = names_in(cfg.train_dataloader.dataset.ann_file)
        assert cfg.val_dataloader.dataset.ann_file == cfg.test_dataloader.dataset.ann_file == judged
        assert cfg.test_dataloader.dataset.data_prefix == cfg.train_dataloader.dataset.data_prefix
        held_out = names_in(judged)
        assert (len(trained_on), len(held_out)) == (19, 5)
        assert not trained_on & held_out
        assert all((data / "train" / name).is_file() for name in held_out)  # none of val's
    for file in rest:
        cfg = Config.fromfile(file)
        factor = 0.3 if file.parents[1].name == "scratch" else 3
        assert cfg.optim_wrapper.optimizer.lr == pytest.approx(base * factor)
        assert Path(cfg.test_evaluator.ann_file) == data / "annotations/val.json"
    told = capsys.readouterr().out
    assert "scratch: 0.3 times the config's rate (0.09: 20.0, 0.3: 25.0, 1: 20.0, 3: 20.0)" in told
    assert "mine: 3 times the config's rate (0.3: 20.0, 1: 20.0, 3: 25.0, 9: 20.0)" in told
    assert "rate tried is the best" not in told
    assert (
        "mine against scratch: with 25 % of the labels mine is better by 4.0 AP (2.2 to 5.8); "
        "with all labels no difference is shown (-1.8 to +1.8 AP)." in told
    )
    text = (work / "compare.md").read_text()
    assert f"| scratch | - | 25 | 6 | 600 | {base * 0.3:g} | 5 | 50.00 ± 15.81 |" in text
    assert (
        "| scratch | 25 | 5 | +4.00 | +2.20 to +5.80 | +2.00, +3.00, +4.00, +5.00, +6.00 |" in text
    )
    content = json.loads((work / "compare.json").read_text())
    assert [d["mean"] for d in content["differences"]] == pytest.approx([4, 0])
    assert (work / "compare.svg").is_file()
    # The same command again trains nothing, and says the same.
    del fine_tunings[:]
    assert run_tool(tool, monkeypatch, *arguments) == 0
    assert fine_tunings == []
    assert "mine is better by 4.0 AP (2.2 to 5.8)" in capsys.readouterr().out


@needs_mmseg
def test_a_segmentors_rates_are_judged_on_masks_of_training_images(
    tool, data, weights, fine_tunings, monkeypatch, tmp_path
):
    run = tmp_path / "run"
    run.mkdir()
    weights.rename(run / "backbone.pth")  # the folder of a run stands for its weights
    arguments = [
        "seg", ROOT / SEGMENTOR, "--data-root", data, "--work-dir", tmp_path / "work",
        "--starts", f"scratch,mine={run}", "--shares", "100", "--seeds", "0", "--rates", "1,3",
    ]  # fmt: skip
    assert run_tool(tool, monkeypatch, *arguments) == 0
    cfg = Config.fromfile(fine_tunings[0])
    train, judged = cfg.train_dataloader.dataset, cfg.test_dataloader.dataset
    names = Path(judged.ann_file).read_text().split()
    assert len(names) == 5
    assert not set(names) & set(Path(train.ann_file).read_text().split())
    dataset = pytest.importorskip("mmseg.datasets").BaseSegDataset
    judged.pop("type")
    found = dataset(**{**judged.to_dict(), "pipeline": []})
    masks = [Path(found.get_data_info(i)["seg_map_path"]) for i in range(len(found))]
    assert sorted(mask.stem for mask in masks) == sorted(names)
    assert all(mask.is_file() and mask.parent.name == "train" for mask in masks)


@needs_mmdet
def test_options_of_the_fine_tunings_are_those_of_few_labels(
    tool, data, weights, monkeypatch, tmp_path
):
    ran = []

    def run(name, arguments, gpus, extra):
        ran.append((Config.fromfile(arguments[0]), gpus))
        Path(arguments[2]).write_text(json.dumps({"coco/bbox_mAP": 0.1}))

    monkeypatch.setattr(import_tool("transfer"), "_run", run)
    leave_unformatted(monkeypatch)
    arguments = [
        "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", tmp_path / "work", "--gpus", 2,
        "--starts", f"scratch,mine={weights}", "--seeds", "1,2", "--rates", "0.5",
        "--shares", "25,50", "--share-iters", "20,40", "--same-images",
        "--train-images", "train", "--train-annotations", "annotations/train.json",
        "--val-images", "val", "--val-annotations", "annotations/val.json",
    ]  # fmt: skip
    assert run_tool(tool, monkeypatch, *arguments) == 0
    assert [gpus for _, gpus in ran] == [2] * 8  # one rate is taken, not tried
    assert [cfg.train_cfg.max_iters for cfg, _ in ran] == [20, 20, 40, 40] * 2
    parts = {Path(cfg.train_dataloader.dataset.ann_file).name for cfg, _ in ran}
    assert parts == {"25pct_seed_1.json", "50pct_seed_1.json"}
    base = Config.fromfile(ROOT / DETECTOR).optim_wrapper.optimizer.lr
    assert {cfg.optim_wrapper.optimizer.lr for cfg, _ in ran} == {base / 2}


@needs_mmdet
def test_a_rate_that_teaches_nothing_is_not_chosen_in_silence(
    tool, data, weights, monkeypatch, tmp_path, capsys
):
    pretend(monkeypatch, lambda config: {})  # mmdet's metrics where nothing was found
    arguments = [
        "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", tmp_path / "work",
        "--starts", f"scratch,mine={weights}", "--shares", "100", "--seeds", "0",
    ]  # fmt: skip
    assert run_tool(tool, monkeypatch, *arguments) == 0
    told = capsys.readouterr().out
    assert "mine: no rate of 0.3, 1, 3 times the config's taught it anything" in told
    assert "with all labels neither found anything, so nothing is known" in told
    text = (tmp_path / "work/compare.json").read_text()
    (found,) = json.loads(text, parse_constant=pytest.fail)["differences"]
    assert (found["low"], found["high"]) == (None, None)  # of one seed
    assert "it anything: the config's is taken" in (tmp_path / "work/compare.md").read_text()


@needs_mmseg
def test_a_segmentor_that_answers_one_class_has_no_say_in_its_rate_and_another_share_tries_anew(
    tool, data, weights, monkeypatch, tmp_path, capsys
):
    tried = []

    def metrics(config: Path) -> dict:
        if "rates" in config.parts:
            tried.append(config)
            if config.parent.name == "x3":  # one class for every pixel
                return dict(mIoU=30.0, mAcc=100 / 3, aAcc=90.0)
        return dict(mIoU=20.0, mAcc=30.0, aAcc=60.0)

    pretend(monkeypatch, metrics)
    arguments = [
        "seg", ROOT / SEGMENTOR, "--data-root", data, "--work-dir", tmp_path / "work",
        "--starts", f"scratch,mine={weights}", "--seeds", "0", "--rates", "1,3", "--shares",
    ]  # fmt: skip
    assert run_tool(tool, monkeypatch, *arguments, "90") == 0
    assert "mine: 1 times the config's rate (1: 20.0, 3: no result)" in capsys.readouterr().out
    assert run_tool(tool, monkeypatch, *arguments, "90,100") == 0
    assert len(set(tried)) == 8


@needs_mmdet
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--starts", "scratch"], "'scratch' is one start: a comparison needs two"),
        (["--starts", "scratch,mine"], "'mine' is no start: the word scratch, or NAME=FILE"),
        (["--starts", "scratch,a=P,a=P"], "a is named twice"),
        (["--starts", "scratch,a=P,b=P"], "--starts: a and b are the same weights"),
        (["--starts", "scratch,a=absent.pth"], "a=absent.pth: there is no such file."),
        (["--starts", "scratch,a=D"], "is a folder without backbone.pth"),
        (["--starts", "scratch,a=https://x/y.pth"], "a file of this machine is needed"),
        (["--starts", "a=P,b=scratch"], "'b=scratch' names no file"),
        (["--starts", "scratch,a=~nobody_here/x.pth"], "there is no such file"),
        (["--starts", f"scratch,a={'x' * 300}"], "there is no such file"),
        (["--rates", "0,1"], "'0,1': numbers above 0, each once"),
        (
            ["--shares", "10"],
            "10 % are 2 images, of which 1 would be held out to find a learning rate by: too few",
        ),
    ],
)
def test_bad_options_are_named_before_any_training(
    tool, data, weights, fine_tunings, monkeypatch, tmp_path, capsys, change, message
):
    change = [word.replace("=P", f"={weights}").replace("=D", f"={data}") for word in change]
    arguments = ["det", ROOT / DETECTOR, "--data-root", data, "--work-dir", tmp_path / "work"]
    starts = [] if "--starts" in change else ["--starts", f"scratch,mine={weights}"]
    assert run_tool(tool, monkeypatch, *arguments, *starts, *change) == 2
    assert message in capsys.readouterr().err
    assert fine_tunings == []


@needs_mmdet
@pytest.mark.slow
def test_two_starts_are_compared_by_fine_tunings_that_really_run(
    tool, monkeypatch, tmp_path, capfd
):
    def here(name, arguments, gpus, extra):  # in this process: importing mmdet takes most of it
        assert run_tool(import_tool(name), monkeypatch, *arguments, *extra) == 0

    monkeypatch.setattr(import_tool("transfer"), "_run", here)
    data = draw(tmp_path / "data", train=20, val=2)
    backbone = ResNet(depth=18, base_channels=WIDTH, stem_channels=WIDTH).state_dict()
    torch.save({f"backbone.{k}": v for k, v in backbone.items()}, tmp_path / "p.pth")
    work = tmp_path / "work"
    arguments = [
        "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", work, "--shares", "100",
        "--starts", f"scratch,mine={tmp_path / 'p.pth'}", "--seeds", "0", "--rates", "1,2",
        "--max-iters", "2", "--cfg-options", *SMALL_DETECTOR, *FEW_PROPOSALS,
    ]  # fmt: skip
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        assert run_tool(tool, monkeypatch, *arguments) == 0
    told = "".join(capfd.readouterr())
    assert told.count("backbone weights of p.pth") == 3  # two rates, one run
    content = json.loads((work / "compare.json").read_text())
    assert [row["start"] for row in content["rows"]] == ["scratch", "mine"]
    assert (work / "compare.md").read_text().strip() in told
