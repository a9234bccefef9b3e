# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The runs of xmoco compare and few-labels, and what is written of them: table, JSON, plot."""

import argparse
import json
import math
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli import doubts, transfer, transfer_table
from xmoco_plugin.cli.options.few_labels import NAME
from xmoco_plugin.visualization import few_labels_figure, save_few_labels_figure


class Start(NamedTuple):
    """What the backbone starts from."""

    name: str  # scratch, pretrained, imagenet, or what the user calls it
    checkpoint: str  # a file, or the word scratch
    digest: str  # first figures of the file's SHA-256

    @property
    def folder(self) -> str:
        """Of its runs: other weights under the same name are another start."""
        return self.name if self.digest == "-" else f"{self.name}-{self.digest}"


class Run(NamedTuple):
    """One fine-tuning of one start on one share with one seed."""

    start: Start
    share: float  # percent
    seed: int
    rows: list[int]  # of the images in the whole set
    config: Config
    folder: Path

    @property
    def done(self) -> bool:
        """Trained and tested."""
        return (self.folder / transfer.METRICS).exists()


def write_results(
    root: Path, runs: list[Run], args: argparse.Namespace, rates: Sequence[str] = ()
) -> str:
    """Writes table, JSON and plot of the runs that are done; returns the table.

    `rates`, what is said of learning rates, has no place there.
    """
    rows = result_rows(runs, args.task)
    text = markdown(rows)
    write_files(root / NAME, text, rows, args)
    return text


def first_metric(runs: Sequence[Run], task: str) -> dict[Path, float]:
    """Returns the value of the first column, in percent, for each run by its folder.

    Runs that are not done, or whose figures are no result (`doubts`), are left out.

    Args:
        runs: Of one length, whose configs differ in what no doubt asks for.
        task: 'det' or 'seg'.
    """
    tests = _tests_of(runs)
    columns = _columns(task, list(transfer_table.with_zeros(tests).values()))
    whys = doubts.of_runs(task, columns, list(tests.values()), runs[0].config)
    values = next(iter(columns.values()))
    return {f: value for f, value, why in zip(tests, values, whys, strict=True) if not why}


def _columns(task: str, metrics: Sequence[dict[str, float]]) -> dict[str, list[float]]:
    """As `columns_of`, of which there must be one."""
    columns = transfer_table.columns_of(task, metrics)
    if not columns:
        names = sorted(set().union(*metrics))
        raise ValueError(
            f"the tests give {', '.join(names) or 'nothing'}, and none of the columns "
            f"{', '.join(transfer_table.COLUMNS[task])} has a value in every run."
        )
    return columns


def _tests_of(runs: Sequence[Run]) -> dict[Path, dict[str, float]]:
    """What the tests have written: nothing where nothing was found."""
    return {
        run.folder: transfer.read_metrics(run.folder / transfer.METRICS) for run in runs if run.done
    }


def result_rows(runs: Sequence[Run], task: str) -> list[dict]:
    """Returns a row for each start and share of which a run is done, start by start."""
    tests = _tests_of(runs)
    metrics = transfer_table.with_zeros(tests)
    rows = []
    for start in dict.fromkeys(run.start for run in runs):
        for share in dict.fromkeys(run.share for run in runs):
            group = [run for run in runs if run[:2] == (start, share) and run.done]
            if not group:
                continue
            values = _columns(task, [metrics[run.folder] for run in group])
            found = [tests[run.folder] for run in group]
            whys = doubts.of_runs(task, values, found, group[0].config)
            rows.append(
                dict(
                    start=start.name,
                    checkpoint=start.checkpoint,
                    sha256=start.digest,
                    share_percent=share,
                    images=len(group[0].rows),
                    iterations=group[0].config.train_cfg.max_iters,
                    learning_rate=group[0].config.optim_wrapper.optimizer.lr,
                    seeds=[run.seed for run in group],
                    doubts={run.seed: why for run, why in zip(group, whys, strict=True) if why},
                    metrics={
                        name: dict(
                            values=v,
                            mean=statistics.mean(v),
                            std=transfer_table.deviation_of(v) if len(v) > 1 else None,
                        )
                        for name, v in values.items()
                    },
                )
            )
    return rows


def write_files(
    file: Path, text: str, rows: list[dict], args: argparse.Namespace, **more: Any
) -> None:
    """Writes a table as Markdown, its rows as JSON, and its plot; `file` lacks their endings.

    Args:
        file: Of the table.
        text: The table.
        rows: Of :func:`result_rows`.
        args: The options.
        more: What the JSON holds besides.
    """
    content = dict(
        task=args.task, config=args.config, same_images=args.same_images, in_percent=True, rows=rows
    )
    write_text(file.with_suffix(".md"), text + "\n")
    text = json.dumps(_finite(content | more), indent=1, allow_nan=False)
    write_text(file.with_suffix(".json"), text + "\n")
    plot(file, rows, args)


def _finite(value: Any) -> Any:
    """The same without infinite ends and figures that are none, which JSON does not know."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def markdown(rows: list[dict], rates: bool = False) -> str:
    """Returns the table of all starts and shares, in percent; with learning rates if asked."""
    metrics = list(rows[0]["metrics"])
    titles = ["start", "sha256", "share, %", "images", "iterations"]
    titles += [*(["learning rate"] if rates else []), "seeds", *metrics]
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    for row in rows:
        cells = [row["start"], row["sha256"], f"{row['share_percent']:g}", row["images"]]
        cells += [row["iterations"], *([f"{row['learning_rate']:g}"] if rates else [])]
        cells.append(len(row["seeds"]))
        spreads = [transfer_table.spread(row["metrics"][name]["values"]) for name in metrics]
        cells += [doubts.marked(text, bool(row.get("doubts"))) for text in spreads]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    told = [
        (f"{row['start']}, {row['share_percent']:g} %, seed {seed}", why)
        for row in rows
        for seed, why in row.get("doubts", {}).items()
    ]
    return "\n".join(lines) + doubts.notes(told)


def plot(file: Path, rows: list[dict], args: argparse.Namespace) -> None:
    """Draws the first metric as PNG and SVG, beside `file`."""
    metric = next(iter(rows[0]["metrics"]))
    curves: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        curves.setdefault(row["start"], {})[row["share_percent"]] = row["metrics"][metric]["values"]
    figure = few_labels_figure(
        curves,
        metric,
        {row["share_percent"]: row["images"] for row in rows},
        Path(args.config).stem,
        "Seeds vary the fine-tuning"
        + (" alone." if args.same_images else " and which images are drawn.")
        + " Some runs have no result: see the table." * any(row["doubts"] for row in rows),
    )
    for suffix in (".png", ".svg"):
        save_few_labels_figure(figure, file.with_suffix(suffix))
