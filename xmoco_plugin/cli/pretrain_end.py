# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How a run of pretrain.py ends: its report, what its folder holds, and what to do with it."""

import math
import sys
from pathlib import Path

import torch

from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.cli import console
from xmoco_plugin.untrusted import printable
from xmoco_plugin.visualization.report import WorkDir, write_report

# Of the report's neighbours and maps: enough for both, and seconds instead of a minute on a CPU.
IMAGES = {True: 2000, False: 500}  # with a GPU, without
TREE = {
    "config.py": "the complete config; xmoco train runs it to the same result",
    "files.txt": "the images trained on",
    "digests.txt": "what was in them, line by line",
    "scan.txt": "what the data are, and each file that was left out, with the reason",
    "opening.txt": "the data, the choices, the differences from the host's config",
    "first_batch.png": "views as the network got them",
    "metrics.jsonl": "a line for each logged step and validation",
    "health.jsonl": "a verdict for each epoch",
    "report.html": "what the run has learnt",
    "backbone.pth": "weights of the last checkpoint not held back, for OpenMMLab and torchvision",
    "backbone.safetensors": "the same for timm and others",
    "finetune_mmdet.py": "a detector on this backbone",
    "finetune_mmseg.py": "a segmentor on this backbone",
    "next_steps.md": "lines that judge, use and load the weights",
}


def report(folder: Path) -> None:
    """Writes report.html; what it lacks, or why there is none, is said and no reason to fail."""
    try:
        with console.waiting("writing report.html"):
            run = WorkDir.read(folder, folder.name)
            write_report([run], folder / "report.html", IMAGES[torch.cuda.is_available()])
    except Exception as error:  # whatever a run that broke off may have left
        print(f"report.html was not written: {error}", file=sys.stderr)
        return
    for line in run.missing:
        print(f"report.html: missing: {printable(line)}", file=sys.stderr)


def why_not(folder: Path) -> str:
    """Why there is no backbone.pth, in words."""
    if not any(folder.glob("epoch_*.pth")):
        return "there is no checkpoint"
    verdict = own.last_verdict(folder)
    return "each checkpoint was held back" + (f"; the last verdict: {verdict}" if verdict else "")


def in_doubt(folder: Path) -> str | None:
    """A warning where the weights handed on are of an epoch that was not found to learn."""
    record = read_checkpoint(folder / "backbone.pth", mmap=True).get("meta")
    verdict = record.get("verdict") if isinstance(record, dict) else None
    if verdict in (None, "learning", "too early"):
        return None
    return (
        f"warning: no epoch was found to learn: backbone.pth is the best there is, of one that is "
        f"{printable(str(verdict))}. docs/judge_a_run.md says what to change."
    )


def finish(folder: Path) -> None:
    """Writes the report and what leads on, and says what there is."""
    report(folder)
    steps = own.hand_over(folder)
    print(f"\n{folder}")
    for name, meaning in TREE.items():
        if (folder / name).exists():
            print(f"  {name:<21} {meaning}")
    if steps is None:
        print(f"nothing was exported: {why_not(folder)}")
    else:
        if doubt := in_doubt(folder):
            print(doubt)
        print(f"\n{steps.read_text()}", flush=True)


def memory_text(size: float) -> str:
    """Bytes of an image in a step: '4 MB', '120 kB'; what a small network takes is not measured."""
    if size < 1000:
        return "too little to measure"
    return f"{size / 1e6:.0f} MB" if size >= 1e6 else f"{size / 1e3:.0f} kB"


def time_text(seconds: float) -> str:
    """A time that a user can plan with: '3 s', '18 min', '2.5 h'."""
    if seconds > 3600:
        return f"{seconds / 3600:.1f} h"
    return f"{math.ceil(seconds / 60)} min" if seconds > 60 else f"{math.ceil(seconds)} s"
