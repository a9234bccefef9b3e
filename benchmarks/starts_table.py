# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of starts.py: its tables, and how well figures without labels go with kNN."""

import statistics
from collections.abc import Sequence

import numpy as np
from study_table import paired_interval

CRITERIA = ("rank", "alignment", "uniformity", "found", "kept")


def ranks(values: Sequence[float]) -> np.ndarray:
    """(N,) places in rising order; equal values share the mean of theirs."""
    array = np.asarray(values, dtype=float)
    below = (array[:, None] > array).sum(1)
    return below + ((array[:, None] == array).sum(1) - 1) / 2


def spearman(one: Sequence[float], two: Sequence[float]) -> float:
    """Rank correlation; NaN where either has one value only."""
    a, b = (ranks(values) - (len(values) - 1) / 2 for values in (one, two))
    scale = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / scale if scale else float("nan")


def moved(runs: Sequence[dict], criterion: str) -> list[list[tuple[float, float]]]:
    """Of each run, (criterion, kNN) of each later look less the start's."""
    return [
        [
            (
                look[criterion] - run["looks"][0][criterion],
                look["knn"] - run["looks"][0]["knn"],
            )
            for look in run["looks"][1:]
        ]
        for run in runs
    ]


def correlation(
    runs: Sequence[dict], criterion: str, resamples: int = 1000
) -> tuple[float, float, float]:
    """Spearman's over all later looks, and its bootstrap interval: whole runs are drawn anew."""
    points = moved(runs, criterion)
    whole = spearman(*zip(*(p for run in points for p in run), strict=True))
    rng, found = np.random.default_rng(0), []
    for _ in range(resamples if len(points) > 1 else 0):
        drawn = [p for i in rng.integers(len(points), size=len(points)) for p in points[i]]
        found.append(spearman(*zip(*drawn, strict=True)))
    found = [value for value in found if np.isfinite(value)]
    low, high = np.quantile(found, [0.025, 0.975]) if found else (-1.0, 1.0)
    return whole, float(low), float(high)


def tables(runs: Sequence[dict]) -> str:
    """Markdown: each set's cells against its start, against MoCo, and the criteria."""
    if not runs:
        return "no runs yet\n"
    sets = list(dict.fromkeys(run["set"] for run in runs))
    text = "## From the start to the last look, points\n\n"
    text += "| set | cell | seeds | kNN: start, on the way, end | kNN | ridge | CPU s |\n"
    text += "| --- " * 7 + "|\n"
    for name in sets:
        mine = [run for run in runs if run["set"] == name]
        for cell in dict.fromkeys(run["cell"] for run in mine):
            text += _cell_row(name, cell, [run for run in mine if run["cell"] == cell])
    text += "\n## Last look, less MoCo's at the same rate, seed by seed\n\n"
    text += "| set | cell | seeds | kNN (95 % interval) | ridge (95 % interval) |\n"
    text += "| --- " * 5 + "|\n"
    for name in sets:
        text += _against_moco(name, [run for run in runs if run["set"] == name])
    text += "\n## Rank correlation with kNN, both less the start's (95 % interval over runs)\n\n"
    text += "| set | looks | " + " | ".join(CRITERIA) + " |\n" + "| --- " * 7 + "|\n"
    for name in [*sets, "all"]:
        mine = [run for run in runs if name in (run["set"], "all")]
        cells = [name, str(sum(len(run["looks"]) - 1 for run in mine))]
        for criterion in CRITERIA:
            whole, low, high = correlation(mine, criterion)
            cells.append(f"{whole:+.2f} ({low:+.2f} to {high:+.2f})")
        text += "| " + " | ".join(cells) + " |\n"
    return text


def gains(runs: Sequence[dict], measure: str) -> dict[int, float]:
    """Last look less the start, by seed."""
    return {run["seed"]: run["looks"][-1][measure] - run["looks"][0][measure] for run in runs}


def _cell_row(name: str, cell: str, runs: Sequence[dict]) -> str:
    seen = [[look["knn"] for look in run["looks"]] for run in runs]
    looks = [statistics.mean(v) for v in zip(*seen, strict=True)]
    cells = [name, cell, ", ".join(str(run["seed"]) for run in runs)]
    cells.append(", ".join(f"{look:.1f}" for look in looks))
    for measure in ("knn", "ridge"):
        values = list(gains(runs, measure).values())
        spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
        cells.append(f"{statistics.mean(values):+.1f}{spread}")
    cells.append(f"{statistics.mean(run['cpu_seconds'] for run in runs):.0f}")
    return "| " + " | ".join(cells) + " |\n"


def _against_moco(name: str, runs: Sequence[dict]) -> str:
    text = ""
    for cell in dict.fromkeys(run["cell"] for run in runs):
        reading, _, rest = cell.partition("_")
        mine = [run for run in runs if run["cell"] == cell]
        base = [run for run in runs if run["cell"] == f"moco_{rest}"]
        cells = [name, cell]
        for measure in ("knn", "ridge"):
            ours, theirs = gains(mine, measure), gains(base, measure)
            both = [ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs)]
            if reading == "moco" or not both:
                break
            cells += [str(len(both))] if measure == "knn" else []
            low, high = paired_interval(both)
            cells.append(f"{statistics.mean(both):+.1f} ({low:+.1f} to {high:+.1f})")
        else:
            text += "| " + " | ".join(cells) + " |\n"
    return text
