# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The runs of xmoco few-labels, and what is written of them: table, JSON, plot."""

import argparse
import json
import statistics
from pathlib import Path
from typing import NamedTuple

from mmengine.config import Config

from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli import doubts, transfer, transfer_table
from xmoco_plugin.cli.options.few_labels import NAME
from xmoco_plugin.visualization import few_labels_figure, save_few_labels_figure


class Start(NamedTuple):
    """What the backbone starts from."""

    name: str  # scratch, pretrained or imagenet
    checkpoint: str  # a file, or the word scratch
    digest: str  # first figures of the file's SHA-256


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


def write_results(root: Path, runs: list[Run], args: argparse.Namespace) -> str:
    """Writes table, JSON and plot of the runs that are done; returns the table."""
    done = [run for run in runs if run.done]
    found = {
        (run.start, run.share, run.seed): transfer.read_metrics(run.folder / transfer.METRICS)
        for run in done
    }
    metrics = transfer_table.with_zeros(found)
    rows = []
    for start, share in dict.fromkeys((run.start, run.share) for run in runs):
        group = [run for run in done if (run.start, run.share) == (start, share)]
        if group:
            values = transfer_table.columns_of(
                args.task, [metrics[start, share, run.seed] for run in group]
            )
            tests = [found[start, share, run.seed] for run in group]
            whys = doubts.of_runs(args.task, values, tests, group[0].config)
            rows.append(
                dict(
                    start=start.name,
                    checkpoint=start.checkpoint,
                    sha256=start.digest,
                    share_percent=share,
                    images=len(group[0].rows),
                    iterations=group[0].config.train_cfg.max_iters,
                    seeds=[run.seed for run in group],
                    doubts={run.seed: why for run, why in zip(group, whys, strict=True) if why},
                    metrics={
                        name: dict(
                            values=v,
                            mean=statistics.mean(v),
                            std=statistics.stdev(v) if len(v) > 1 else None,
                        )
                        for name, v in values.items()
                    },
                )
            )
    rows.sort(key=lambda row: [row["start"] != "scratch", row["start"] != "pretrained"])
    text = markdown(rows)
    content = dict(
        task=args.task, config=args.config, same_images=args.same_images, in_percent=True, rows=rows
    )
    write_text(root / f"{NAME}.md", text + "\n")
    write_text(root / f"{NAME}.json", json.dumps(content, indent=1) + "\n")
    plot(root, rows, args)
    return text


def markdown(rows: list[dict]) -> str:
    """Returns the table of all starts and shares, in percent."""
    metrics = list(rows[0]["metrics"])
    titles = ["start", "sha256", "share, %", "images", "iterations", "seeds", *metrics]
    lines = [f"| {' | '.join(titles)} |", "| --- " * len(titles) + "|"]
    for row in rows:
        cells = [row["start"], row["sha256"], f"{row['share_percent']:g}", row["images"]]
        cells += [row["iterations"], len(row["seeds"])]
        spreads = [transfer_table.spread(row["metrics"][name]["values"]) for name in metrics]
        cells += [doubts.marked(text, bool(row.get("doubts"))) for text in spreads]
        lines.append(f"| {' | '.join(map(str, cells))} |")
    told = [
        (f"{row['start']}, {row['share_percent']:g} %, seed {seed}", why)
        for row in rows
        for seed, why in row.get("doubts", {}).items()
    ]
    return "\n".join(lines) + doubts.notes(told)


def plot(root: Path, rows: list[dict], args: argparse.Namespace) -> None:
    """Draws the first metric as PNG and SVG."""
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
        save_few_labels_figure(figure, root / f"{NAME}{suffix}")
