# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""How a run of pretrain.py ends: its report, what its folder holds, and what to do with it."""

import math
import os
import re
import signal
import sys
from pathlib import Path

import torch
from rich.console import Console
from rich.table import Table
from rich.text import Text

from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.cli import console, exits
from xmoco_plugin.json_lines import read_json_lines
from xmoco_plugin.untrusted import FileRefusedError, printable
from xmoco_plugin.untrusted.run_settings import NAMED_SET
from xmoco_plugin.visualization.report import WorkDir, write_report
from xmoco_plugin.visualization.report.checkpoints import WEIGHTS, checkpoints_table

# Of the report's neighbours and maps: enough for both, and seconds instead of a minute on a CPU.
IMAGES = {True: 2000, False: 500}  # with a GPU, without
TREE = {
    "config.py": "the complete config; xmoco train runs it to the same result",
    "files.txt": "the images trained on",
    "tiles.txt": "the tiles of them: number of the line in files.txt, top, left",
    "digests.txt": "what was in them, line by line",
    "shards.txt": "the digest of the set trained on",
    "scan.txt": "what the data are, and each file that was left out, with the reason",
    "opening.txt": "the data, the choices, the differences from the host's config",
    "first_batch.png": "views as the network got them",
    "metrics.jsonl": "a line for each logged step and validation",
    "health.jsonl": "a verdict for each epoch",
    "report.html": "what the run has learnt",
    "weights.jsonl": "the checkpoints, the start first: kNN, and which was handed over and why",
    "start.pth": "the backbone that the run began with",
    "stopped.txt": "why it was stopped early; the same command with --keep-going trains on",
    "backbone.pth": "weights of the best checkpoint, the start included: OpenMMLab, torchvision",
    "backbone.safetensors": "the same for timm and others",
    "finetune_mmdet.py": "a detector on this backbone",
    "finetune_mmseg.py": "a segmentor on this backbone",
    "teacher.pth": "how keys are made of the teacher's features",
    "teacher_features.bin": "the teacher's features of the images",
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
    """A warning where the weights handed on are of an epoch that was not found to learn.

    Others may have been: kNN decides, where there are labels.
    """
    record = read_checkpoint(folder / "backbone.pth", mmap=True).get("meta")
    verdict = record.get("verdict") if isinstance(record, dict) else None
    if verdict in (None, "learning", "too early"):
        return None
    return (
        f"warning: backbone.pth is of an epoch whose verdict is '{printable(str(verdict))}'. "
        "docs/judge_a_run.md says what to change."
    )


def command_lines(steps: str) -> list[str]:
    """The shell lines of next_steps.md, in its order; the Python of each library stays there."""
    blocks = re.findall(r"^```bash\n(.*?)^```", steps, re.MULTILINE | re.DOTALL)
    return [line for block in blocks for line in block.splitlines()]


def ended_badly(status: int) -> str:
    """Why a training ended with a status that is not 0, as far as the status tells."""
    if status in exits.STOPS:  # it leaves the word to this command
        return f"the training was stopped ({signal.Signals(status - 128).name})"
    if status >= 0:
        return f"the training ended with status {status}; what it said stands above"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    killer = (
        ": by the system where memory ran out (`dmesg` tells; a smaller --batch-size or fewer "
        "--workers help), or by somebody"
        if name == "SIGKILL"
        else ""
    )
    return f"the training was killed ({name}){killer}"


def show_weights(folder: Path) -> None:
    """Prints the checkpoints, the start first, and which of them was handed over and why."""
    lines = []
    if (folder / WEIGHTS).is_file():
        try:
            lines = read_json_lines(folder / WEIGHTS)[0]
        except FileRefusedError as error:
            print(f"{WEIGHTS}: {error}", file=sys.stderr)
    if lines:
        found = checkpoints_table(lines)
        table = Table(*found.header, box=None, pad_edge=False)
        for row in found.rows:
            table.add_row(*map(Text, row))
        screen = Console(soft_wrap=True) if sys.stdout.isatty() else Console(width=120)
        print()
        screen.print(table)
    if why := own.handed_over(folder):
        print(why)


def finish(folder: Path, status: int = 0) -> None:
    """Writes the report and what leads on, and says what there is.

    Args:
        folder: Of the run.
        status: Of the training, negative for a signal; what follows is then of a part of the run.
    """
    if status:
        print(
            f"error: {ended_badly(status)}. The run is not done: the same command goes on. This is "
            "what there is so far:",
            file=sys.stderr,
            flush=True,
        )
    report(folder)
    show_weights(folder)
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
        print("\nwhat to do with it; next_steps.md has the lines for each library too:")
        print(*(f"  {line}" for line in command_lines(steps.read_text())), sep="\n", flush=True)
        if named := os.environ.get(NAMED_SET):
            print(f"the report reads the set again: {NAMED_SET}={named} in front of its line")


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
