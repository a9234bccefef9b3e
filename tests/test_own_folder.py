# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The command of the README for an unlabelled folder: the real config, a shrunken model."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xmoco_plugin.checkpoint import read_checkpoint

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


def test_an_own_folder_trains_with_the_readmes_command(folder, tmp_path):
    work = tmp_path / "work"
    done = subprocess.run(
        [
            sys.executable,
            str(ROOT / "tools" / "train.py"),
            str(ROOT / "configs" / "xmoco_r50_1xb64_folder.py"),
            *("--data-root", str(folder), "--work-dir", str(work)),
            *("--cfg-options", *SHRUNKEN),
        ],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        check=False,
    )
    output = done.stdout + done.stderr
    assert done.returncode == 0, output[-3000:]
    assert "13 images" in output
    assert "loss_consistency" in output
    state = read_checkpoint(work / "epoch_1.pth")["state_dict"]
    assert state["queue"].abs().sum(dim=0).gt(0).all()  # 3 batches of 4 in 8 slots
    assert output.count("cut.jpg") <= 2  # named once, if drawn
    assert "notes.txt" not in output
