# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What README and docs/plug_in.md say of an unlabelled folder: their text, a shrunken model."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmoco_plugin.checkpoint import read_checkpoint

from .forked import command
from .tool_modules import import_tool, run_tool

ROOT = Path(__file__).parents[1]
SHRUNKEN = (
    "model.backbone.depth=18",
    "model.backbone.base_channels=8",
    "model.backbone.stem_channels=8",
    "model.neck.in_channels=64",
    "model.neck.hid_channels=16",
    "model.queue_len=8",
    "train_dataloader.batch_size=4",
    "train_dataloader.num_workers=1",
    "train_cfg.max_epochs=1",
    "default_hooks.logger.interval=1",
)


@pytest.fixture
def folder(tmp_path):
    """Nested, of mixed formats, with one file that ends early and one that is no image."""
    rng = np.random.default_rng(0)
    for i in range(12):
        place = tmp_path / "images" / ("a" if i % 2 else "b/c")
        place.mkdir(parents=True, exist_ok=True)
        pixels = rng.integers(0, 256, (60 + i, 90 - i, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(place / f"{i}.{('jpg', 'png', 'webp')[i % 3]}")
    whole = (tmp_path / "images" / "b" / "c" / "0.jpg").read_bytes()
    (tmp_path / "images" / "cut.jpg").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "images" / "notes.txt").write_text("no image")
    return tmp_path / "images"


def test_an_own_folder_trains_with_the_readmes_command(folder, tmp_path, monkeypatch):
    work = tmp_path / "work"
    monkeypatch.chdir(tmp_path)
    config = ROOT / "configs" / "xmoco_r50_1xb64_folder.py"
    words = ("--data-root", folder, "--work-dir", work, "--cfg-options", *SHRUNKEN)
    done = command("train", config, *words)
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    assert "13 images" in output
    (log,) = work.glob("*/*.log")
    assert "loss_consistency" in log.read_text()
    state = read_checkpoint(work / "epoch_1.pth")["state_dict"]
    assert state["queue"].abs().sum(dim=0).gt(0).all()  # 3 batches of 4 in 8 slots
    assert output.count("cut.jpg") <= 2  # named once, if drawn
    assert "notes.txt" not in output


def sections(page: str) -> dict[str, str]:
    """The Python below each heading of a page."""
    parts = re.split(r"^#+ (.*)\n", (ROOT / page).read_text(), flags=re.MULTILINE)
    code = [re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.M) for text in parts[2::2]]
    return {title: "\n".join(blocks) for title, blocks in zip(parts[1::2], code, strict=True)}


@pytest.mark.parametrize(
    ("page", "title", "term"),
    [
        ("README.md", "In your mmpretrain config", "loss_consistency"),
        ("docs/plug_in.md", "On a folder of your own", "loss"),
    ],
)
def test_the_config_on_the_page_trains_a_step_on_a_folder(
    folder, tmp_path, monkeypatch, capsys, page, title, term
):
    (folder / "text.jpg").write_text("no image, and it ends no training")
    text = sections(page)[title]
    assert text.count('data_root="/path/to/images"') == 1
    # A name, and so a log, of its own for each: in one second both names could be begun.
    mine = tmp_path / f"{Path(page).stem}.py"
    mine.write_text(text)
    small = [s for s in SHRUNKEN if "queue_len" not in s or page == "README.md"]
    small += ["train_dataloader.batch_size=12", "train_dataloader.num_workers=0"]
    small += ["train_dataloader.persistent_workers=False"]
    arguments = [mine, "--data-root", folder, "--work-dir", tmp_path / "work"]
    if page == "README.md":
        small.append("model.queue_len=12")
    tool = import_tool("train")
    status = run_tool(tool, monkeypatch, *arguments, "--cfg-options", *small)
    assert status == 0, capsys.readouterr().err
    log = next((tmp_path / "work").glob("*/vis_data/scalars.json")).read_text().splitlines()
    assert len(log) == 1  # twelve images, a batch of twelve
    assert json.loads(log[0])[term] > 0


@pytest.mark.parametrize("name", ["simclr", "swav"])  # with split, and with ann_file
def test_a_folder_that_is_not_laid_out_as_imagenet_is_refused_with_the_way_out(
    folder, tmp_path, monkeypatch, capsys, name
):
    config = ROOT / "configs" / "plug_in" / f"xmoco_{name}-r50.py"
    arguments = [config, "--data-root", folder, "--work-dir", tmp_path / "work"]
    assert run_tool(import_tool("train"), monkeypatch, *arguments) == 2
    said = capsys.readouterr().err
    missing = folder / ("train" if name == "simclr" else "meta/train.txt")
    assert f"names {missing}, which does not exist" in said
    assert "dataset=dict(_delete_=True, type='UnlabeledFolder', data_root='FOLDER'" in said


def test_a_folder_of_another_type_without_delete_is_told_what_it_lacks(
    folder, tmp_path, monkeypatch, capsys
):
    (tmp_path / "mine.py").write_text(
        '_base_ = "xmoco_plugin::plug_in/xmoco_simclr-r50.py"\n'
        f"train_dataloader = dict(dataset=dict(type='UnlabeledFolder', data_root={str(folder)!r}))"
    )
    arguments = [tmp_path / "mine.py", "--work-dir", tmp_path / "work", "--cfg-options"]
    assert run_tool(import_tool("train"), monkeypatch, *arguments, *SHRUNKEN[:4]) == 2
    said = capsys.readouterr().err
    assert "has no setting 'split'" in said
    assert "lacks _delete_=True" in said
