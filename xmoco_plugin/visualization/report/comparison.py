# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A comparison of starts in the page: its verdicts, its table and its plot."""

import os
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from markupsafe import Markup
from matplotlib.ticker import FixedLocator, NullLocator

from ...untrusted import FileRefusedError, printable, read_json_object
from .chart import LARGEST
from .figure import Figure, Section, Table
from .scalars import is_number
from .svg import add_legend, line_style, new_axes, to_svg

FILES = ("compare.json", "few_labels.json")  # of xmoco compare and of xmoco few-labels
TASKS = {"det": "a detector", "seg": "a segmentor"}
DODGE = 1.035  # factor in x between starts, so that their bars do not cover each other
AGAIN = "The same xmoco command again writes it anew, and trains nothing that has been run"


@dataclass(frozen=True)
class Comparison:
    """What a comparison's folder holds.

    Attributes:
        path: The folder.
        name: What the report calls it.
        content: Of its file, which may be anybody's: what it lacks is left out of the page.
    """

    path: Path
    name: str
    content: Mapping[str, Any]

    @classmethod
    def read(cls, folder: str | Path, name: str = "") -> "Comparison":
        """Read the results that a folder holds.

        Raises:
            ValueError: They cannot be read, or there are none in them.
        """
        path = Path(folder).expanduser()
        file = next(path / name for name in FILES if os.path.lexists(path / name))
        try:
            content = read_json_object(file)
        except FileRefusedError as error:
            raise ValueError(f"{printable(file)}: {error}. {AGAIN}.") from None
        found = cls(path, printable(name or path.resolve().name), content)
        if not found.metric:
            raise ValueError(f"{printable(file)} holds no results. {AGAIN}.")
        return found

    @property
    def rows(self) -> list[dict[str, Any]]:
        """A start on a share each, those with a share and results."""
        rows = _dicts(self.content.get("rows"))
        return [r for r in rows if _share(r) is not None and isinstance(r.get("metrics"), dict)]

    @property
    def metric(self) -> str:
        """That starts are compared by; empty where there is none."""
        return next((str(name) for row in self.rows for name in row["metrics"]), "")

    def values(self, row: Mapping[str, Any], metric: str) -> list[float]:
        """Of a row's seeds, in percent."""
        found = row["metrics"].get(metric)
        values = found.get("values") if isinstance(found, dict) else None
        numbers = values if isinstance(values, list) else []
        return [float(v) for v in numbers if is_number(v) and abs(v) < LARGEST]


def is_comparison(folder: str | Path) -> bool:
    """Whether a folder holds the results of a comparison."""
    return any(os.path.lexists(Path(folder).expanduser() / name) for name in FILES)


def comparison_section(found: Comparison, index: int) -> Section:
    """The comparison as a section; `index` tells it from the page's other ones."""
    task = TASKS.get(str(found.content.get("task")), "a model")
    config = printable(Path(str(found.content.get("config") or "")).name)
    same = " All seeds trained on the same images." * (found.content.get("same_images") is True)
    intro = (
        f"Fine-tunings of {task} ({config}) from several starts, of the same images, seeds and "
        f"length, judged on its validation images.{same} Figures are in percent."
    )
    key = f"comparison-{index}"
    figures = [_said(found, key), _results(found, key), _plot(found, key)]
    return Section(
        key, f"Which start is better: {found.name}", intro, [f for f in figures if f is not None]
    )


def _said(found: Comparison, key: str) -> Figure | None:
    """The verdicts in sentences; behind them the differences seed by seed."""
    said = _texts(found.content.get("verdicts"))
    rates = _texts(found.content.get("learning_rates"))
    if not said:
        return None
    item = Markup("<li>{}</li>")
    body = Markup("<ul>{}</ul>").format(Markup().join(item.format(line) for line in said))
    differences = _dicts(found.content.get("differences"))
    rows = [
        [
            printable(str(d.get("other"))),
            _number(d.get("share"), "g"),
            _number(d.get("mean"), "+.2f"),
            f"{_number(d.get('low'), '+.2f')} to {_number(d.get('high'), '+.2f')}",
            ", ".join(_number(v, "+.2f") for v in _list(d.get("values"))),
        ]
        for d in differences
    ]
    header = ["against", "share, %", f"difference in {found.metric}", "95 % interval", "each seed"]
    caption = " ".join(("Learning rates: " + "; ".join(rates) + ".",) if rates else ())
    return Figure(f"{key}-verdict", "Verdict", body, caption, Table(header, rows), wide=True)


def _results(found: Comparison, key: str) -> Figure:
    """The table of all starts and shares, with why some figures are none."""
    metrics = list(dict.fromkeys(str(name) for row in found.rows for name in row["metrics"]))
    header = ["start", "weights", "share, %", "images", "iterations", "learning rate", "seeds"]
    rows, notes = [], []
    for row in found.rows:
        told = row.get("doubts")
        doubts = told if isinstance(told, dict) else {}
        start, share = printable(str(row.get("start"))), f"{_share(row):g}"
        notes += [
            f"* {start}, {share} %, seed {printable(str(seed))}: {printable(str(why))}."
            for seed, why in doubts.items()
        ]
        cells = [start, printable(str(row.get("sha256") or "")), share]
        cells += [_number(row.get(n), "g") for n in ("images", "iterations", "learning_rate")]
        cells.append(str(len(_list(row.get("seeds")))))
        cells += [_spread(found.values(row, metric)) + " *" * bool(doubts) for metric in metrics]
        rows.append(cells)
    body = _html([*header, *metrics], rows)
    return Figure(f"{key}-table", "Results", body, " ".join(notes), wide=True)


def _plot(found: Comparison, key: str) -> Figure:
    """Means over the seeds, bars of one standard deviation, a line a start."""
    figure, axes = new_axes()
    axes.set_xscale("log")
    starts = list(dict.fromkeys(printable(str(row.get("start"))) for row in found.rows))
    shares = sorted({share for row in found.rows if (share := _share(row)) is not None})
    for i, start in enumerate(starts):
        points = [
            (share * DODGE ** (i - (len(starts) - 1) / 2), values)
            for row in found.rows
            if printable(str(row.get("start"))) == start and (share := _share(row)) is not None
            if (values := found.values(row, found.metric))
        ]
        points.sort(key=lambda point: point[0])
        axes.errorbar(
            [x for x, _ in points],
            [statistics.mean(values) for _, values in points],
            yerr=[statistics.stdev(values) if len(values) > 1 else 0.0 for _, values in points],
            capsize=2.5,
            label=_plain(start),
            **line_style(i),
        )
    axes.xaxis.set_major_locator(FixedLocator(shares))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.set_xticks(shares, [f"{share:g} %" for share in shares])
    axes.set_xlim(shares[0] / 1.4, shares[-1] * 1.4)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("share of the training images")
    axes.set_ylabel(_plain(f"{printable(found.metric)}, %"))
    axes.grid(True, linewidth=0.3, alpha=0.6)
    add_legend(figure, axes)
    caption = "Mean of the seeds; bars: one standard deviation (of the sample)."
    title = f"{printable(found.metric)} by share of the labels"
    svg = to_svg(figure, f"{key}-plot", f"{title}. {caption}")
    return Figure(f"{key}-plot", title, svg, caption)


def _html(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Markup:
    """A table as the page's own ones, every cell escaped."""
    head = Markup().join(Markup('<th scope="col">{}</th>').format(cell) for cell in header)
    lines = [
        Markup('<tr><th scope="row">{}</th>{}</tr>').format(
            first, Markup().join(Markup("<td>{}</td>").format(cell) for cell in rest)
        )
        for first, *rest in rows
    ]
    return Markup(
        '<div class="scroll" tabindex="0" role="region" aria-label="Results">'
        "<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table></div>"
    ).format(head, Markup().join(lines))


def _plain(text: str) -> str:
    """A text in which matplotlib finds no formula."""
    return text.replace("$", r"\$")


def _share(row: Mapping[str, Any]) -> float | None:
    value = row.get("share_percent")
    return float(value) if is_number(value) and 0 < value <= 100 else None


def _spread(values: Sequence[float]) -> str:
    if not values:
        return ""
    deviation = f" ± {statistics.stdev(values):.2f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.2f}{deviation}"


def _number(value: Any, form: str) -> str:
    return format(value, form) if is_number(value) else "-"


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [item for item in _list(value) if isinstance(item, dict)]


def _texts(value: Any) -> list[str]:
    return [printable(item) for item in _list(value) if isinstance(item, str)]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []
