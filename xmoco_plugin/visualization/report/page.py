# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""From work dirs to one HTML file that needs nothing else."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from mmengine.config import Config

from ...checkpoint import write_text
from ...untrusted import printable
from ...version import __version__
from .attempt import attempt
from .checkpoints import checkpoints_table, last_handed_over
from .comparison import Comparison, comparison_section
from .config_diff import differences, host_config, load_base, stated_host_config
from .curves import health_section, knn_section, loss_section
from .figure import Figure, Section, Table
from .histograms import histogram_figures
from .pictures import Pictures, Say
from .similarity import map_figures
from .svg import line_style
from .twice import twice_figure
from .verdicts import Verdict
from .work_dir import WorkDir


def write_report(
    runs: Sequence[WorkDir],
    out: Path,
    images: int = 2000,
    base: str | None = None,
    say: Say = print,
    comparisons: Sequence[Comparison] = (),
) -> None:
    """Write the report of one run, or of several side by side, and of comparisons of starts.

    Args:
        runs: read before; names must differ. What cannot be drawn is added to their ``missing``.
        out: the file, written whole or not at all.
        images: among which neighbours are looked for.
        base: config to compare the runs' with; found by the config's file name, or in the
            opening.txt of pretrain.py, where not given.
        say: told what is being computed.
        comparisons: come first; there need be no run beside them.
    """
    host = (base, load_base(base)) if base else None
    pictures = [Pictures.draw(run, i, images, say) for i, run in enumerate(runs)]
    sections = [comparison_section(found, i) for i, found in enumerate(comparisons)]
    sections += _sections(runs, pictures) if runs else ()
    environment = Environment(
        loader=PackageLoader("xmoco_plugin.visualization.report", "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    text = environment.get_template("page.html").render(
        title=" against ".join(one.name for one in runs or comparisons),
        runs=runs,
        comparisons=comparisons,
        verdicts=[Verdict.of(run) for run in runs],
        checkpoints=[checkpoints_table(run.weights) for run in runs],
        styles=[line_style(i) for i in range(len(runs))],
        facts=facts(runs),
        sections=[section for section in sections if section.figures],
        configs=[_config_part(run, host) for run in runs],
        between=_between(runs),
        environment=_environments(runs),
        version=__version__,
        now=f"{datetime.now():%Y-%m-%d %H:%M}",
    )
    write_text(out, text)


def facts(runs: Sequence[WorkDir]) -> Table:
    """What the runs are and how far they came."""
    rows = {
        "config": [printable(run.config_name) or "missing" for run in runs],
        "model": [_model_name(run) for run in runs],
        "trained": [_extent(run) for run in runs],
        "kNN before training": [_percent(run.summary.get("knn_before")) for run in runs],
        "kNN, last validation": [_last_metric(run) for run in runs],
        "handed over": [_handed_over(run) for run in runs],
        "checkpoints": [", ".join(f"{n}" for n in run.checkpoints) or "none" for run in runs],
        "seconds of training": [
            f"{run.summary['seconds']:,.0f}" if "seconds" in run.summary else "not recorded"
            for run in runs
        ],
        "work dir": [printable(run.path) for run in runs],
    }
    return Table(["", *(run.name for run in runs)], [[k, *v] for k, v in rows.items()])


def _sections(runs: Sequence[WorkDir], pictures: Sequence[Pictures]) -> Iterable[Section]:
    yield knn_section(runs)
    yield loss_section(runs)
    yield health_section(runs)
    largest = max(p.maps.largest_asymmetry for p in pictures)
    yield Section(
        "maps",
        "Cross-similarity of one batch",
        "S is the cosine of every query (first view) with every key (second view) of the same "
        "training images, sorted by class where there are classes, with lines between them. A good "
        "embedding has a dark red diagonal on a pale ground. |S − Sᵀ| is what the consistency term "
        "makes small; its colours mean the same in every map of this page.",
        [
            figure
            for i, run in enumerate(runs)
            for figure in _figures(
                run, "similarity maps", map_figures, run, i, pictures[i].maps, largest
            )
        ],
    )
    yield Section(
        "histograms",
        "Similarity over time",
        "From the health hook, one histogram an epoch.",
        [
            figure
            for i, run in enumerate(runs)
            for figure in _figures(run, "histograms", histogram_figures, run, i)
        ],
    )
    yield Section(
        "neighbours",
        "Nearest neighbours",
        "What the backbone takes for alike. The queries are the same for every run of one config.",
        [p.neighbours for p in pictures if p.neighbours],
    )
    yield Section(
        "tsne",
        "Map of the embedding",
        "Classes that form groups of their own can be told apart by near neighbours.",
        [p.tsne for p in pictures if p.tsne],
    )
    yield Section(
        "views",
        "Views as augmented",
        "Two views must keep what makes the image itself, and no more.",
        [p.views for p in pictures if p.views],
    )
    found = [attempt(run, "images twice", twice_figure, run, i) for i, run in enumerate(runs)]
    yield Section(
        "twice",
        "Images that are there twice",
        "Exact copies do little harm; many near ones make the task easier than it looks, as a "
        "copy in the batch counts as another image. xmoco duplicates --one-per-group writes a "
        "list without them.",
        [figure for figure in found if figure is not None],
    )


def _config_part(run: WorkDir, host: tuple[str, Config] | None) -> dict:
    """Differences of a run's config from the host's, found or given, and the config as text."""
    config = run.config
    if config is None:
        return {"run": run, "text": "", "table": None, "base": ""}
    config_text = attempt(run, "the config as text", getattr, config, "pretty_text") or ""
    found = host or host_config(run.config_name)
    if found is None:
        found = attempt(run, "the base, of opening.txt", stated_host_config, run.path)
    if found is None:
        shown = printable(run.config_name)
        run.missing.append(
            f"Differences of the config from the host's: this package has no {shown} "
            "that inherits one of mmpretrain's. Name one with --base mmpretrain::FOLDER/FILE.py."
        )
        return {"run": run, "text": config_text, "table": None, "base": ""}
    name, base = found
    rows = differences(base, config)
    table = Table(["setting", "host", run.name], rows)
    return {"run": run, "text": config_text, "table": table, "base": name}


def _between(runs: Sequence[WorkDir]) -> Table | None:
    """Settings in which the runs differ."""
    known = [run for run in runs if run.config is not None]
    if len(known) < 2:
        return None
    rows = differences(*(run.config for run in known if run.config is not None))
    return Table(["setting", *(run.name for run in known)], rows)


def _environments(runs: Sequence[WorkDir]) -> Table:
    keys = dict.fromkeys(key for run in runs for key in run.environment)
    return Table(
        ["", *(run.name for run in runs)],
        [[key, *(run.environment.get(key, "") for run in runs)] for key in keys],
    )


def _model_name(run: WorkDir) -> str:
    model = _dict((run.config or {}).get("model"))
    backbone = _dict(model.get("backbone"))
    depth = f"-{backbone['depth']}" if "depth" in backbone else ""
    return f"{model.get('type', 'unknown')}, {backbone.get('type', 'unknown')}{depth}"


def _extent(run: WorkDir) -> str:
    length = "max_epochs" if run.unit == "epoch" else "max_iters"
    planned = _dict((run.config or {}).get("train_cfg")).get(length)
    reached = [run.x(points[-1][0]) for points in run.train.values()]
    reached += [float(n) for n in run.checkpoints] + [float(e["epoch"]) for e in run.health]
    done = f"{max(reached):.4g}" if reached else "nothing known"
    return f"{done} of {planned} {run.unit}s" if planned else f"{done} {run.unit}s"


def _last_metric(run: WorkDir) -> str:
    name = run.summary.get("metric") or next(iter(run.metrics), None)
    points = run.metrics.get(name or "")
    return f"{points[-1][1]:.1f} % ({name}, {run.unit} {points[-1][0]:g})" if points else "none"


def _handed_over(run: WorkDir) -> str:
    """Which weights backbone.pth holds and why."""
    line = last_handed_over(run.weights)
    if line is None:
        return "not recorded"
    place = "the start" if line["epoch"] == 0 else f"epoch {line['epoch']:g}"
    return printable(f"{place}: {line.get('why')}"[:300])


def _percent(value: object) -> str:
    return f"{value:.1f} %" if isinstance(value, int | float) else "not recorded"


def _figures(
    run: WorkDir, what: str, draw: Callable[..., list[Figure]], *arguments: Any
) -> list[Figure]:
    return attempt(run, what, draw, *arguments) or []


def _dict(value: object) -> Mapping:
    """A part of a config; an empty one where it is something else."""
    return value if isinstance(value, Mapping) else {}
