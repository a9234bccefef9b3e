# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Lists the runs in and below work dirs, what came of them, and how their configs differ."""

import argparse
import contextlib
import csv
import io
import math
import os
import re
import statistics
from pathlib import Path

from jinja2 import Environment
from rich.console import Console
from rich.table import Table

from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli.options.runs import COLUMNS
from xmoco_plugin.json_lines import read_json_lines
from xmoco_plugin.untrusted import FileRefusedError, for_spreadsheet, printable, read_text
from xmoco_plugin.visualization.report import WorkDir
from xmoco_plugin.visualization.report.attempt import describe
from xmoco_plugin.visualization.report.checkpoints import last_handed_over
from xmoco_plugin.visualization.report.config_diff import ABSENT, differences
from xmoco_plugin.visualization.report.scalars import is_count, is_number

SEPARATOR = "; "
PART = re.compile(r"\d{8}_\d{6}$")  # mmengine's folder of one start of a run
LIMIT = 1 << 20  # bytes of a config (ours)
WIDTH = 60  # characters of the differences that the text shows
LISTS = re.compile(r"(^|[._])(hooks|pipeline|transforms)(\.|$)")  # long, and seldom what differs
UNTRAINED = re.compile(r"^train_cfg = None$", re.MULTILINE)
PAGE = """<!doctype html><html lang="en"><meta charset="utf-8"><title>Runs</title>
<style>body{font:14px sans-serif}table{border-collapse:collapse}
th,td{padding:4px 10px;border-bottom:1px solid #ccc;text-align:left;vertical-align:top}</style>
<table><tr>{% for c in header %}<th>{{ c }}</th>{% endfor %}</tr>
{% for row in rows %}<tr>{% for c in row %}<td>{{ c }}</td>{% endfor %}</tr>
{% endfor %}</table></html>
"""


def find_runs(folders: list[str]) -> list[Path]:
    """Work dirs in and below the folders, each once.

    Raises:
        ValueError: a folder that is none, or no run anywhere.
    """
    found: dict[Path, None] = {}
    for name in folders:
        root = Path(name).expanduser().resolve()
        if not root.is_dir():
            raise ValueError(f"there is no folder {name} (looked from {Path.cwd()})")
        for folder, below, files in os.walk(root):
            parts = [d for d in below if PART.match(d)]
            named = {"health.jsonl", "summary.json", "last_checkpoint"} & set(files)
            if (parts or named) and not is_evaluation(Path(folder)):
                found[Path(folder)] = None
            below[:] = sorted(set(below) - set(parts))
    if not found:
        raise ValueError(f"no run in or below {', '.join(folders)}: name work dirs of trainings")
    return list(found)


def is_evaluation(folder: Path) -> bool:
    """Whether the folder's configs train nothing: those of eval_knn.py and test.py."""
    files = [*folder.glob("*.py"), *folder.glob("*/vis_data/config.py")]
    texts = []
    for file in files:
        with contextlib.suppress(FileRefusedError):
            texts.append(read_text(file, LIMIT))
    return bool(texts) and all(map(UNTRAINED.search, texts))


def read(path: Path, name: str) -> tuple[dict, WorkDir]:
    """A run's row, without the settings, and the run; a broken one hides no other."""
    try:
        run = WorkDir.read(path, name)
        return row(run), run
    except Exception as error:
        # Started, and stopped before it wrote anything; or anything that a folder may hold.
        why = "no config, log or checkpoint" if type(error) is ValueError else describe(error)
        run = WorkDir(path, printable(name), missing=[f"Everything: {why}."])
        return row(run), run


def row(run: WorkDir) -> dict:
    """Of the table, without the settings."""
    metric = run.summary.get("metric")
    name = metric if isinstance(metric, str) else next(iter(run.metrics), "")
    points = run.metrics.get(name, [])
    trained = [value for step, value in points if step > 0 and math.isfinite(value)]
    best, by_knn = round(max(trained), 2) if trained else None, validates_by_knn(run, name)
    last = max((curve[-1][0] for curve in run.train.values()), default=0)
    done = [int(run.x(last)), *run.checkpoints, *(int(e["epoch"]) for e in run.health)]
    return {
        "name": run.name,
        "epochs": max(done) if run.unit == "epoch" else f"{max(done)} iterations",
        "start kNN": _start_knn(run, points) if by_knn else None,
        "best kNN": best if by_knn else None,
        "best other": None if by_knn else best,
        "metric": name if best is not None else None,
        "handed over": _handed_over(run),
        "verdict": run.health[-1].get("verdict") if run.health else None,
        "images/s": images_per_second(run),
    }


def validates_by_knn(run: WorkDir, metric: str) -> bool:
    """Whether a run's metric is kNN's: a classifier's accuracy and a detector's AP are not."""
    config = run.config if run.config is not None else {}
    loop, model = config.get("val_cfg"), config.get("model")
    if isinstance(loop, dict):
        return "KNN" in str(loop.get("type"))
    kind = model.get("type") if isinstance(model, dict) else None
    return metric.startswith("accuracy") and "Classifier" not in str(kind)


def _start_knn(run: WorkDir, points: list) -> float | None:
    """Of the weights that training began with."""
    first = [value for step, value in points if step == 0 and math.isfinite(value)]
    stored = run.summary.get("knn_before")
    return round(first[0], 2) if first else round(stored, 2) if is_number(stored) else None


def _handed_over(run: WorkDir) -> str | None:
    """The epoch whose weights backbone.pth holds, as far as the run has noted it."""
    line = last_handed_over(run.weights)
    if line is None:
        return None
    return "the start" if line["epoch"] == 0 else f"epoch {line['epoch']:g}"


def images_per_second(run: WorkDir) -> float | None:
    """Batch over the median logged seconds an iteration, times the processes that the log names."""
    loader = run.config.get("train_dataloader") if run.config is not None else None
    size = loader.get("batch_size") if isinstance(loader, dict) else None
    logs = sorted(run.path.glob("*/vis_data/scalars.json"))
    logged = []
    for log in logs:
        with contextlib.suppress(FileRefusedError):  # named among what is missing
            logged += [e.get("time") for e in read_json_lines(log)[0] if "lr" in e]
    times = [t for t in logged if is_count(t) and t > 1e-9]
    processes = run.environment.get("GPU number", "1")
    if not (is_count(size) and times and re.fullmatch(r"[0-9]{1,6}", processes)):
        return None
    return round(size * max(int(processes), 1) / statistics.median(times), 1)


def order(row: dict, column: str) -> tuple:
    """Numbers from the largest down, then words, then what is not known."""
    value = row.get(column)
    if is_number(value):
        return (0, -value, "") if value == value else (1, 0, "nan")
    return (2, 0, "") if value in (None, ABSENT) else (1, 0, str(value))


def table(rows: list[dict], settings: list[str], several: bool) -> tuple[list, list[list[str]]]:
    """Header and cells; the settings in a column each where ``several``, else in one."""
    header = [*COLUMNS, *(settings if several else ["differences"]), "missing"]
    for row in rows:
        row["differences"] = SEPARATOR.join(f"{s}={row[s]}" for s in settings if row[s] != ABSENT)
    return header, [["" if r[c] is None else printable(str(r[c])) for c in header] for r in rows]


def shorten(text: str) -> str:
    """Differences as far as WIDTH goes, those of hooks and pipelines only counted."""
    parts = text.split(SEPARATOR) if text else []
    shown = SEPARATOR.join(p for p in parts if not LISTS.search(p.partition("=")[0]))
    cut = shown if len(shown) <= WIDTH else shown[: WIDTH - 1] + "…"
    left = len(parts) - len(cut.split(SEPARATOR) if cut else [])
    return f"{cut} (and {left} more)".lstrip() if left else cut


def render(header: list, cells: list[list[str]], kind: str) -> str:
    """The table as text, CSV or HTML."""
    text = io.StringIO()
    if kind == "csv":
        safe = [[_cell(cell) for cell in line] for line in [header, *cells]]
        csv.writer(text, lineterminator="\n").writerows(safe)
    elif kind == "html":
        page = Environment(autoescape=True).from_string(PAGE)
        text.write(page.render(header=header, rows=cells))
    else:
        place = header.index("differences")
        cells = [[*c[:place], shorten(c[place]), *c[place + 1 :]] for c in cells]
        grid = Table(*header, box=None, pad_edge=False)
        for line in cells:
            grid.add_row(*line)
        wide = sum(max(map(len, c)) + 2 for c in zip(header, *cells, strict=True))
        Console(file=text, width=wide, color_system=None, markup=False).print(grid)
    return text.getvalue()


def _cell(text: str) -> str:
    """A number as it is, a text so that no spreadsheet runs it."""
    try:
        float(text)
    except ValueError:
        return for_spreadsheet(text)
    return text


def main(args: argparse.Namespace) -> None:
    """Lists."""
    if args.out and (Path(args.out).is_dir() or not Path(args.out).resolve().parent.is_dir()):
        raise ValueError(f"--out {args.out}: it is a folder, or its folder does not exist")
    paths = find_runs(args.folders)
    base = os.path.commonpath([p.parent for p in paths])
    read_runs = [read(path, os.path.relpath(path, base)) for path in paths]
    configured = [run for _, run in read_runs if run.config is not None]
    unlike = differences(*(run.config for run in configured)) if configured else []
    taken = {*COLUMNS, "differences", "missing"}
    unlike = [[f"config {n}" if n in taken else n, *rest] for n, *rest in unlike]
    for row, run in read_runs:
        row |= {setting: ABSENT for setting, *_ in unlike}
        row["missing"] = " ".join(run.missing)
        if run.config is not None:
            row |= {
                line[0]: line[1 + next(i for i, c in enumerate(configured) if c is run)]
                for line in unlike
            }
    rows, settings = [row for row, _ in read_runs], [line[0] for line in unlike]
    if args.sort not in [*COLUMNS, *settings]:
        raise ValueError(f"--sort {args.sort}: choose from {', '.join([*COLUMNS, *settings])}")
    rows.sort(key=lambda row: order(row, args.sort))
    text = render(*table(rows, settings, args.format == "csv"), args.format)
    if args.out:
        write_text(args.out, text)
    else:
        print(text, end="")
