# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of xmoco compare: differences between starts, seed by seed, and what follows from them."""

import argparse
import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path

from xmoco_plugin.cli.options.compare import NAME
from xmoco_plugin.cli.share_results import (
    Run,
    markdown,
    result_rows,
    write_files,
)
from xmoco_plugin.evaluation.paired import paired_interval

ENOUGH = 5  # seeds; the interval of three is their range, which one in four times misses the truth


@dataclasses.dataclass(frozen=True)
class Difference:
    """Of one start from another on one share of the labels, in points of the first metric.

    Attributes:
        other: Name of the start that is compared with.
        share: Percent of the training images.
        values: One for each seed that both have.
        low, high: 95 % interval of the mean.
        learnt: Whether any run of the two has a result.
    """

    other: str
    share: float
    values: list[float]
    low: float
    high: float
    learnt: bool

    @property
    def mean(self) -> float:
        """Of the seeds."""
        return statistics.mean(self.values)


def differences(rows: Sequence[dict]) -> tuple[str, str, list[Difference]]:
    """Returns the last start's name, the metric's, and its differences from each other start.

    Args:
        rows: Of :func:`result_rows`, start by start.
    """
    metric = next(iter(rows[0]["metrics"]))
    names = list(dict.fromkeys(row["start"] for row in rows))
    by_place = {(row["start"], row["share_percent"]): row for row in rows}
    found = []
    for other in names[:-1]:
        for share in sorted({row["share_percent"] for row in rows}):
            two = [by_place.get((name, share)) for name in (names[-1], other)]
            ours, theirs = (_by_seed(row, metric) for row in two)
            seeds = sorted(ours.keys() & theirs.keys())
            if not seeds:
                continue
            moved = [ours[seed] - theirs[seed] for seed in seeds]
            learnt = any(seed not in row["doubts"] for row in two if row for seed in row["seeds"])
            found.append(Difference(other, share, moved, *paired_interval(moved), learnt=learnt))
    return names[-1], metric, found


def _by_seed(row: dict | None, metric: str) -> dict[int, float]:
    if row is None:
        return {}
    return dict(zip(row["seeds"], row["metrics"][metric]["values"], strict=True))


def verdicts(name: str, metric: str, found: Sequence[Difference]) -> list[str]:
    """Returns a sentence for each start that `name` is compared with.

    A difference is shown where the interval of at least five seeds does not hold 0.
    """
    sentences = []
    for other in dict.fromkeys(d.other for d in found):
        clauses = [_clause(name, metric, d) for d in found if d.other == other]
        sentences.append(f"{name} against {other}: {'; '.join(clauses)}.")
    judged = sum(d.learnt and len(d.values) >= ENOUGH for d in found)
    if judged > 1:
        chance = 100 * (1 - 0.95**judged)
        sentences.append(
            f"{judged} comparisons at 95 % each: where nothing differs, some difference would be "
            f"shown by chance in up to {chance:.0f} of 100 such tables."
        )
    return sentences


def _clause(name: str, metric: str, d: Difference) -> str:
    where = "with all labels" if d.share == 100 else f"with {d.share:g} % of the labels"
    if not d.learnt:
        return f"{where} neither found anything, so nothing is known: train longer (--max-iters)"
    size = f"{abs(d.mean):.1f} {metric}"
    if len(d.values) < ENOUGH:
        sign = "more" if d.mean > 0 else "less" if d.mean < 0 else "more or less"
        return (
            f"{where} {size} {sign} in {len(d.values)} "
            f"{'seed' if len(d.values) == 1 else 'seeds'}, which is no verdict: it takes {ENOUGH}"
        )
    if d.low > 0:
        return f"{where} {name} is better by {size} ({d.low:.1f} to {d.high:.1f})"
    if d.high < 0:
        return f"{where} {name} is worse by {size} ({-d.high:.1f} to {-d.low:.1f})"
    return f"{where} no difference is shown ({d.low:+.1f} to {d.high:+.1f} {metric})"


def differences_table(metric: str, found: Sequence[Difference]) -> str:
    """Returns the differences as Markdown."""
    lines = [
        f"| against | share, % | seeds | difference in {metric} | 95 % interval | each seed |",
        "| --- " * 6 + "|",
    ]
    for d in found:
        interval = f"{d.low:+.2f} to {d.high:+.2f}" if len(d.values) > 1 else "not of one seed"
        each = ", ".join(f"{value:+.2f}" for value in d.values)
        cells = [d.other, f"{d.share:g}", str(len(d.values)), f"{d.mean:+.2f}", interval, each]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def write_comparison(
    root: Path, runs: list[Run], args: argparse.Namespace, rates: Sequence[str]
) -> str:
    """Writes table, verdicts, JSON and plot of the runs that are done; returns the text.

    Args:
        root: Of all runs.
        runs: All of them.
        args: The options.
        rates: What is said of the learning rates.
    """
    rows = result_rows(runs, args.task)
    text = markdown(rows, rates=True)
    name, metric, found = differences(rows)
    said = verdicts(name, metric, found)
    if found:
        text += f"\n\n{name} against the others, seed by seed:\n\n"
        text += differences_table(metric, found)
        text += "\n\n" + "\n".join(said)
    if args.same_images:
        text += "\n\nAll seeds trained on the same images: nothing is known of other images."
    if rates:
        text += "\n\n" + "\n".join(rates)
    more = dict(
        differences=[dataclasses.asdict(d) | dict(mean=d.mean, metric=metric) for d in found],
        verdicts=said,
        learning_rates=list(rates),
    )
    write_files(root / NAME, text, rows, args, **more)
    return text
