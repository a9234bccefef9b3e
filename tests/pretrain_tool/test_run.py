# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/pretrain.py: from a folder to a run that explains itself."""

import json
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from xmoco_plugin.checkpoint import read_checkpoint

from ..tool_modules import import_tool
from .command import EPOCHS, run
from .page import block, table


def test_the_run_says_what_it_found_and_chose_and_why(finished):
    out, printed = finished
    for text in (
        "images: 18 readable, 1 unreadable",
        "exact duplicates: 1",
        "labels: 18 images for kNN, 2 (11%) of them trained on",
        "queue_len",
        "few older keys of the batch",
        "18 images are few",
        "no --init: the network begins with random weights",
        "since the start",
        "the start ",
    ):
        assert text in printed, text
    assert re.search(r"left out: .*cut.jpg: .*truncated", printed)
    log = next(out.glob("*/*.log")).read_text()
    for text in ("differences from mmpretrain::mocov2", "model.queue_len: 65536 -> 4", "cut.jpg"):
        assert text in log, text


def test_the_folder_holds_what_the_page_promises(finished):
    out, _ = finished
    # No --init, archive, teacher, tiles, channels and shards were given, and nothing stopped it.
    apart = {"init.pth", "unpacked/", "stopped.txt", "teacher.pth", "teacher_features.bin"}
    apart |= {"tiles.txt", "scan_tiles.jsonl", "scan_channels.jsonl", "shards.txt"}
    for name in import_tool("pretrain_end").TREE.keys() - apart:
        assert (out / name).is_file(), name
    named = {name for row in table("The folder of a run") for name in re.findall("`(.*?)`", row[0])}
    patterns = [name.replace("N", r"\d+").replace("DATE_TIME", r"\d{8}_\d{6}") for name in named]
    there = [path.name + "/" * path.is_dir() for path in out.iterdir()]
    assert [n for n in there if not any(re.fullmatch(p, n) for p in patterns)] == []
    missing = {p for p in patterns if not any(re.fullmatch(p, n) for n in there)}
    assert missing == apart
    listed = (out / "files.txt").read_text().splitlines()
    assert len(listed) == 18
    assert not [name for name in listed if "cut" in name]


def test_the_page_shows_what_is_said_when_a_run_starts(finished):
    _, printed = finished

    def without_values(line: str) -> str:
        line = re.sub(r"/\S+(?=: )", "PATH", " ".join(line.split()))
        line = re.sub(r"(classes: ).*", r"\1NAMES", line)
        line = re.sub(r"[\d.,]+", "N", line)
        return re.sub(r"N (h|s)$", "N min", line).replace("N kB", "N MB")

    said = {without_values(line) for line in printed.splitlines()}
    # These are set here, or depend on the machine.
    unlike = ("model", "image_size", "batch_size", "epochs", "workers")
    for line in block("What it says when it starts"):
        setting = line.split()[0]
        if setting in unlike:
            assert any(other.split()[:1] == [setting] for other in said), line
        else:
            assert without_values(line) in said, line


def test_the_metrics_are_lines_with_losses_and_knn(finished):
    out, _ = finished
    lines = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    assert any("loss_nce" in line or "loss" in line for line in lines)
    assert any("accuracy/top1" in line for line in lines)


def test_the_report_made_by_hand_shows_the_same_differences_from_the_host(finished, tmp_path):
    out, printed = finished
    assert "missing: Differences" not in printed
    page = tmp_path / "page.html"
    done = run(out, "--out", page, "--images", 10, tool="report")
    assert done.returncode == 0, done.stderr[-3000:]
    assert "missing: Differences" not in done.stdout
    stated = re.search(r"^differences from (.*)$", (out / "opening.txt").read_text(), re.M)
    for file in (page, out / "report.html"):
        text = file.read_text()
        assert stated[1] in text
        assert "model.queue_len" in text


def test_train_py_runs_the_written_config_to_the_same_weights(finished, tmp_path):
    out, _ = finished
    work = tmp_path / "again"
    metrics = (out / "metrics.jsonl").read_bytes()
    done = run(out / "config.py", "--work-dir", work, tool="train")
    assert done.returncode == 0, done.stderr[-3000:]
    ours, theirs = (
        read_checkpoint(folder / f"epoch_{EPOCHS}.pth")["state_dict"] for folder in (out, work)
    )
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[key], theirs[key]) for key in ours)
    assert (out / "metrics.jsonl").read_bytes() == metrics
    assert (work / "metrics.jsonl").is_file()


def test_the_printed_lines_load_the_weights(finished):
    out, printed = finished
    text = (out / "next_steps.md").read_text()
    lines = re.findall(r"^\S+ -m xmoco .*", text, re.MULTILINE)
    assert len(lines) == 5
    assert all(f"  {line}" in printed.splitlines() for line in lines)
    assert "import torch" not in printed  # the Python of each library stays in the file
    blocks = re.findall(r"## (\w+)\n(?:(?!##).)*?```python\n(.*?)```", text, re.DOTALL)
    assert [name for name, _ in blocks] == ["mmpretrain", "mmdet", "torchvision", "timm"]
    image = torch.randn(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    features = {}
    for name, code in blocks:
        if name == "mmdet":
            continue  # a dict of a config: below
        names: dict = {}
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            exec(code, names)
        model = names.get("model", names.get("backbone"))
        model.eval()
        with torch.no_grad():
            found = model(image)
        found = found[-1].mean(dim=(2, 3)) if isinstance(found, tuple) else found
        features[name] = found
    for name in ("torchvision", "timm"):
        torch.testing.assert_close(features[name], features["mmpretrain"], rtol=1e-4, atol=1e-5)
    key = "backbone.layer4.1.conv2.weight"
    exported = torch.load(out / "backbone.pth", weights_only=True)["state_dict"][key]
    source = read_checkpoint(out / "backbone.pth")["meta"]["source"]
    assert f"backbone.pth holds {source}: " in text
    kept = read_checkpoint(out / source)["state_dict"][key]
    assert torch.equal(exported, kept)


def test_the_exported_weights_are_judged_and_used_without_a_config(finished, data, tmp_path):
    out, _ = finished
    for record in read_checkpoint(out / "backbone.pth")["meta"].values():
        assert str(out) not in str(record)
    table = tmp_path / "features.csv"
    options = ("--image-size", 32, "--workers", 0, "--out", table)
    done = run(out / "backbone.pth", data / "labels" / "x", *options, tool="embed")
    assert done.returncode == 0, done.stderr[-3000:]
    assert len(table.read_text().splitlines()) == 1 + 9


def test_the_fine_tuning_configs_name_the_weights_and_the_proof(finished):
    pytest.importorskip("mmdet")
    pytest.importorskip("mmseg")
    out, _ = finished
    for name, channels in (("mmdet", [64, 128, 256, 512]), ("mmseg", 512)):
        cfg = Config.fromfile(str(out / f"finetune_{name}.py"))
        assert cfg.pretrained == str(out / "backbone.pth")
        assert cfg.model.backbone.depth == 18
        head = cfg.model.neck if name == "mmdet" else cfg.model.decode_head
        assert head.in_channels == channels
        assert any(hook.type == "BackboneArrivalHook" for hook in cfg.custom_hooks)
