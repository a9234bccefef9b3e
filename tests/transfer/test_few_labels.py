# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/few_labels.py: which images a share has, which runs there are, what is written of them."""

import json
import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmpretrain.models import ResNet
from PIL import Image

from xmoco_plugin.checkpoint import sha256_of
from xmoco_plugin.cli import share_runs, transfer

from ..tool_modules import import_tool, parse, run_tool
from .drawn import CLASSES, draw, edit
from .hosts import needs_mmdet, needs_mmseg
from .pretended import pretend
from .small import DETECTOR, ROOT, SEGMENTOR, SMALL_DETECTOR, WIDTH
from .test_label_shares import unlabelled


@pytest.fixture
def tool():
    """tools/few_labels.py as a module."""
    return import_tool("few_labels")


@pytest.fixture
def fine_tunings(monkeypatch) -> list[Path]:
    """The trained configs, none of which is."""

    def metrics(config: Path) -> dict:
        share, seed = float(config.parent.name.removesuffix("pct")), int(config.stem[-1])
        value = (share + 2 * seed + 5 * config.parents[1].name.startswith("pretrained")) / 200
        return {"coco/bbox_mAP": value, "coco/bbox_mAP_50": 2 * value, "mIoU": 100 * value}

    return pretend(monkeypatch, metrics)


@needs_mmdet
def test_every_start_of_a_seed_trains_on_the_same_images(
    tool, data, weights, fine_tunings, monkeypatch, tmp_path, capsys
):
    work = tmp_path / "work"
    arguments = [
        weights, "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", work,
        "--shares", "5,25,100", "--seeds", "0,1", "--max-iters", "60",
    ]  # fmt: skip
    before = sorted(data.rglob("*"))
    assert run_tool(tool, monkeypatch, *arguments) == 0
    assert sorted(data.rglob("*")) == before
    assert len(fine_tunings) == 2 * 3 * 2
    assert len(set(fine_tunings)) == len(fine_tunings)
    read: dict = {}
    for file in fine_tunings:
        cfg = Config.fromfile(file)
        assert cfg.train_cfg.max_iters == 60
        dataset = cfg.train_dataloader.dataset
        listed = Path(dataset.data_root, dataset.ann_file)
        share = file.parent.name
        assert (data in listed.parents) == (share == "100pct")
        read.setdefault((share, file.stem), set()).add(listed.read_text())
        # What is judged is the whole validation set.
        assert Path(cfg.val_evaluator.ann_file) == data / "annotations/val.json"
    assert all(len(texts) == 1 for texts in read.values())
    contents = {key: json.loads(texts.pop()) for key, texts in read.items()}
    files = {k: {i["file_name"] for i in c["images"]} for k, c in contents.items()}
    assert {k: len(f) for k, f in files.items() if k[1] == "seed_0"} == {
        ("5pct", "seed_0"): 1, ("25pct", "seed_0"): 6, ("100pct", "seed_0"): 24
    }  # fmt: skip
    assert files["5pct", "seed_0"] < files["25pct", "seed_0"]
    assert files["25pct", "seed_0"] != files["25pct", "seed_1"]
    for content in contents.values():
        assert [c["name"] for c in content["categories"]] == list(CLASSES)
        ids = {image["id"] for image in content["images"]}
        assert {a["image_id"] for a in content["annotations"]} == ids
    told = capsys.readouterr()
    assert "run 1 of 12: scratch, 5 % (1 image), seed 0; time left: not known yet" in told.out
    assert re.search(r"run 12 of 12: pretrained, 100 % .*seed 1; time left: about 0 min", told.out)
    # One image has two shapes of three kinds.
    assert re.search(r"warning: 5 %, 1 image: nothing of \w+ \(seed [01](, 1)?\)", told.err)


@needs_mmdet
def test_the_table_has_means_and_deviations_and_the_plot_a_series_for_each_start(
    tool, data, weights, fine_tunings, monkeypatch, tmp_path, capsys
):
    work = tmp_path / "work"
    arguments = [
        weights, "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", work,
        "--shares", "10,100", "--seeds", "0..2",
    ]  # fmt: skip
    assert run_tool(tool, monkeypatch, *arguments) == 0
    lines = (work / "few_labels.md").read_text().splitlines()
    assert lines[0] == "| start | sha256 | share, % | images | iterations | seeds | AP | AP50 |"
    # (10 + 0, 2, 4) / 2 percent: 5, 6, 7.
    assert lines[2] == "| scratch | - | 10 | 2 | 600 | 3 | 6.00 ± 1.00 | 12.00 ± 2.00 |"
    digest = sha256_of(weights)[:8]
    assert lines[5] == (
        f"| pretrained | {digest} | 100 | 24 | 600 | 3 | 53.50 ± 1.00 | 107.00 ± 2.00 |"
    )
    assert len(lines) == 6
    content = json.loads((work / "few_labels.json").read_text())
    row = content["rows"][0]
    ap = row["metrics"]["AP"]
    assert [*ap["values"], ap["mean"], ap["std"]] == pytest.approx([5, 6, 7, 6, 1])
    assert row["seeds"] == [0, 1, 2]
    with Image.open(work / "few_labels.png") as image:
        image.load()
    ids = [e.get("id") or "" for e in ElementTree.parse(work / "few_labels.svg").iter()]
    assert [i for i in ids if i.startswith("series-")] == ["series-scratch", "series-pretrained"]
    # Again, with a seed more: only that one is run.
    del fine_tunings[:]
    assert run_tool(tool, monkeypatch, *arguments[:-1], "0..3") == 0
    assert {file.stem for file in fine_tunings} == {"seed_3"}
    assert "16 runs, 12 of them done before" in capsys.readouterr().out
    # With other settings nothing is.
    del fine_tunings[:]
    assert run_tool(tool, monkeypatch, *arguments, "--max-iters", "50") == 2
    assert "holds a run with other settings" in capsys.readouterr().err
    edit(data / "annotations/train.json", lambda c: [a.update(x=1) for a in c["annotations"]])
    assert run_tool(tool, monkeypatch, *arguments) == 2
    assert "lists other images or boxes than the data now give" in capsys.readouterr().err
    assert fine_tunings == []


@needs_mmdet
def test_seeds_may_share_their_images_and_shares_have_iterations_of_their_own(
    tool, data, fine_tunings, monkeypatch, tmp_path
):
    arguments = [
        "scratch", "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", tmp_path / "work",
        "--shares", "10,100", "--seeds", "1,2", "--same-images", "--share-iters", "20,200",
    ]  # fmt: skip
    assert run_tool(tool, monkeypatch, *arguments) == 0
    configs = [Config.fromfile(file) for file in fine_tunings]
    assert [cfg.train_cfg.max_iters for cfg in configs] == [20, 200, 20, 200]
    assert [Path(cfg.train_dataloader.dataset.ann_file).name for cfg in configs] == [
        "10pct_seed_1.json", "train.json", "10pct_seed_1.json", "train.json"
    ]  # fmt: skip


@needs_mmdet
def test_imagenet_weights_are_read_as_the_config_of_that_name_reads_them(tool, data, weights):
    def resolved(config, imagenet):
        args = parse(transfer, weights, "det", ROOT / config, "--data-root", data)
        return transfer.resolve(args, imagenet).model

    named = resolved(DETECTOR.replace(".py", "_imagenet.py"), False)
    assert named.backbone.init_cfg.prefix is None
    assert resolved(DETECTOR, True) == named
    assert resolved(DETECTOR, False) != named


@needs_mmseg
def test_segmentation_reads_lists_of_names(
    tool, data, weights, fine_tunings, monkeypatch, tmp_path
):
    arguments = [
        weights, "seg", ROOT / SEGMENTOR, "--data-root", data, "--work-dir", tmp_path / "work",
        "--shares", "25,100", "--imagenet", weights,
    ]  # fmt: skip
    assert run_tool(tool, monkeypatch, *arguments) == 0
    assert len(fine_tunings) == 6
    cfg = Config.fromfile(fine_tunings[0]).train_dataloader.dataset
    names = Path(cfg.ann_file).read_text().split()
    assert len(names) == 6
    assert {f"{name}.jpg" for name in names} < {p.name for p in (data / "img_dir/train").iterdir()}
    dataset = pytest.importorskip("mmseg.datasets").BaseSegDataset
    cfg.pop("type")
    found = dataset(**{**cfg.to_dict(), "pipeline": []})
    assert sorted(Path(found.get_data_info(i)["img_path"]).stem for i in range(len(found))) == (
        sorted(names)
    )
    rows = json.loads((tmp_path / "work/few_labels.json").read_text())["rows"]
    assert [row["start"] for row in rows] == ["scratch"] * 2 + ["pretrained"] * 2 + ["imagenet"] * 2


@needs_mmdet
@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--shares", "0,5"], "names no shares: percentages above 0"),
        (["--share-iters", "5"], "--share-iters has 1 numbers for 5 shares"),
        (["--imagenet", "absent.pth"], "no pretraining checkpoint"),
        (["--data-root", "absent"], "absent"),
        (["--max-iters", "0"], "--max-iters: 0: a whole number from 1"),
    ],
)
def test_bad_options_end_with_status_2_and_a_message_before_training(
    tool, data, weights, fine_tunings, monkeypatch, tmp_path, capsys, change, message
):
    arguments = [weights, "det", ROOT / DETECTOR, "--data-root", data]
    work = ["--work-dir", tmp_path / "work"]
    assert run_tool(tool, monkeypatch, *arguments, *work, *change) == 2
    assert message in capsys.readouterr().err
    assert fine_tunings == []
    assert not (tmp_path / "work").exists()


@needs_mmdet
def test_configs_that_do_not_fit_are_refused(
    tool, data, weights, fine_tunings, monkeypatch, tmp_path, capsys
):
    epochs = tmp_path / "epochs.py"
    epochs.write_text(
        f"_base_ = [{str(ROOT / DETECTOR)!r}]\n"
        "train_cfg = dict(_delete_=True, type='EpochBasedTrainLoop', max_epochs=2)\n"
    )
    scratch = ROOT / DETECTOR.replace(".py", "_scratch.py")
    for config, message in (
        (epochs, "counts epochs"),
        (scratch, "starts from random weights and would never read"),
        (tmp_path / "no.py", "no config file"),
    ):
        arguments = [weights, "det", config, "--data-root", data, "--work-dir", tmp_path / "w"]
        assert run_tool(tool, monkeypatch, *arguments) == 2
        assert message in capsys.readouterr().err
    assert fine_tunings == []


@needs_mmdet
def test_a_share_without_any_box_is_refused(
    tool, data, fine_tunings, monkeypatch, tmp_path, capsys
):
    def bare(content):
        names = [image["file_name"] for image in content["images"]]
        [first] = share_runs.draw(unlabelled(names), 1, 0)
        chosen = content["images"][first]["id"]
        content["annotations"] = [a for a in content["annotations"] if a["image_id"] != chosen]

    edit(data / "annotations/train.json", bare)
    arguments = ["scratch", "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", tmp_path]
    assert run_tool(tool, monkeypatch, *arguments) == 2
    told = capsys.readouterr().err
    assert "1 % with seed 0 leaves 1 image of 24 and nothing of square, disc, triangle" in told
    assert fine_tunings == []


@needs_mmdet
@pytest.mark.slow
def test_two_shares_from_two_starts_are_fine_tuned_and_end_in_a_table(
    tool, monkeypatch, tmp_path, capfd
):
    def here(name, arguments, gpus, extra):  # in this process: importing mmdet takes most of it
        assert run_tool(import_tool(name), monkeypatch, *arguments, *extra) == 0

    monkeypatch.setattr(transfer, "_run", here)
    data = draw(tmp_path / "data", train=12, val=2)
    backbone = ResNet(depth=18, base_channels=WIDTH, stem_channels=WIDTH).state_dict()
    torch.save({f"backbone.{k}": v for k, v in backbone.items()}, tmp_path / "p.pth")
    work = tmp_path / "work"
    arguments = [
        tmp_path / "p.pth", "det", ROOT / DETECTOR, "--data-root", data, "--work-dir", work,
        "--shares", "10,100", "--max-iters", "2", "--cfg-options", *SMALL_DETECTOR,
    ]  # fmt: skip
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        assert run_tool(tool, monkeypatch, *arguments) == 0
    told = "".join(capfd.readouterr())
    assert told.count("backbone weights of p.pth") == 2
    rows = json.loads((work / "few_labels.json").read_text())["rows"]
    assert [(row["start"], row["images"]) for row in rows] == [
        ("scratch", 1), ("scratch", 12), ("pretrained", 1), ("pretrained", 12)
    ]  # fmt: skip
    assert all({"AP", "AP50", "AP75"} <= set(row["metrics"]) for row in rows)
    assert (work / "few_labels.md").read_text().strip() in told
    assert {f.name for f in work.glob("few_labels.*")} == {
        f"few_labels.{suffix}" for suffix in ("md", "json", "png", "svg")
    }
