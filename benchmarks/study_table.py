# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of study.py: its tables, and what a paired difference over seeds is worth."""

import statistics
from collections.abc import Sequence

from xmoco_plugin.evaluation.paired import paired_interval

MEASURES = ("knn", "ridge")


def score(found: dict) -> float:
    """What cells are chosen by: the mean of kNN and ridge."""
    return statistics.mean(found[name] for name in MEASURES)


def differences(runs: Sequence[dict], cell: str, base: str, measure: str) -> list[float]:
    """Of a cell's test scores from the baseline's, for the seeds that both have."""
    by_seed = [
        {run["seed"]: run["test"][measure] for run in runs if run["cell"] == name}
        for name in (cell, base)
    ]
    return [by_seed[0][seed] - by_seed[1][seed] for seed in sorted(by_seed[0].keys() & by_seed[1])]


def tables(chosen: Sequence[dict], final: Sequence[dict]) -> str:
    """Markdown: the cells by their scores, and the finalists beside each MoCo of the final."""
    text = "## Chosen by, on held-out training images\n\n" + _cells(chosen, "chosen_by")
    if not final:
        return text
    text += "\n## Final, on the test images\n\n" + _cells(final, "test")
    for base in [name for name in _names(final) if name.startswith("moco_")]:
        text += _against(final, base)
    return text


def _against(final: Sequence[dict], base: str) -> str:
    text = f"\n## Difference from MoCo, {base}, seed by seed\n\n"
    text += "| cell | seeds | kNN (95 % interval) | ridge (95 % interval) | CPU time |\n"
    text += "| --- " * 5 + "|\n"
    for name in [name for name in _names(final) if name != base]:
        cells = [name, str(len(differences(final, name, base, "knn")))]
        for measure in MEASURES:
            found = differences(final, name, base, measure)
            low, high = paired_interval(found)
            mean = statistics.mean(found) if found else float("nan")
            cells.append(f"{mean:+.2f} ({low:+.2f} to {high:+.2f})")
        mine, theirs = (_seconds(final, cell) for cell in (name, base))
        cells.append(f"{mine / theirs:.2f}")
        text += "| " + " | ".join(cells) + " |\n"
    return text


def _names(runs: Sequence[dict]) -> list[str]:
    return list(dict.fromkeys(run["cell"] for run in runs))


def _seconds(runs: Sequence[dict], cell: str) -> float:
    """CPU seconds of a run, with those of its teacher's one pass over the images."""
    return statistics.mean(
        run["cpu_seconds"] + _pass_seconds(run) for run in runs if run["cell"] == cell
    )


def _pass_seconds(run: dict) -> float:
    return run.get("teacher", {}).get("cpu_seconds", 0.0)


def _cells(runs: Sequence[dict], where: str) -> str:
    lines = ["| cell | seeds | kNN | ridge | CPU s a run |", "| --- " * 5 + "|"]
    by_score = {name: [run for run in runs if run["cell"] == name] for name in _names(runs)}
    order = sorted(
        by_score, key=lambda n: -statistics.mean(score(run[where]) for run in by_score[n])
    )
    for name in order:
        mine = by_score[name]
        cells = [name, ", ".join(str(run["seed"]) for run in mine)]
        for measure in MEASURES:
            values = [run[where][measure] for run in mine]
            spread = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
            cells.append(f"{statistics.mean(values):.2f}{spread}")
        once = statistics.mean(map(_pass_seconds, mine))
        cells.append(f"{_seconds(mine, name):.0f}" + (f", {once:.0f} of them once" if once else ""))
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"
