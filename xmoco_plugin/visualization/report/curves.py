# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Everything that is logged while a run trains, one chart a quantity."""

from collections.abc import Sequence

from .attempt import attempt
from .chart import Chart
from .figure import Figure, Section
from .scalars import Points
from .work_dir import WorkDir

MAX_METRICS = 12
MAX_TERMS = 24  # loss terms, and health values that are new to this file (ours)
# Of health.jsonl: title, unit, and how to read it. docs/judge_a_run.md has the definitions.
HEALTH = {
    "pos_sim_mean": (
        "Similarity of positive pairs",
        "cosine, mean ± std",
        "Two views of one image. Near 1 together with the negatives' is a collapse.",
    ),
    "neg_sim_mean": (
        "Similarity of negative pairs",
        "cosine, mean ± std",
        "Different images. Stays near 0 where the embedding uses its room.",
    ),
    "nce_ratio": (
        "InfoNCE over its uninformed value",
        "ratio",
        "1 is what a guess scores, log(1 + K) for K negatives.",
    ),
    "dim_std": (
        "Spread per dimension",
        "standard deviation",
        "Mean over the embedding's D dimensions: 1/√D if evenly spread, 0 if all are one.",
    ),
    "effective_rank": (
        "Effective rank of the embedding",
        "dimensions (RankMe)",
        "How many directions are in use; 1 is a line.",
    ),
    "alignment": (
        "Alignment",
        "mean squared distance",
        "Of two views of one image: 0 the same, 2 unrelated.",
    ),
    "uniformity_wi": (
        "Hypersphere uniformity",
        "log mean exp(−2 d²)",
        "Of Wang and Isola: 0 if all are one, towards −4 if evenly spread.",
    ),
    "asymmetry": (
        "Asymmetry of the cross-similarity",
        "mean |S − Sᵀ|, cosine",
        "What the consistency term makes small.",
    ),
    "neg_entropy": (
        "Entropy over the negatives",
        "share of log K",
        "1 if every negative counts alike, 0 if one alone counts.",
    ),
    "queue_fill": ("Queue filled", "share of the slots", "1 when every slot holds a real key."),
    "queue_age_steps": (
        "Age of the oldest key in steps",
        "optimizer steps",
        "How long a key stays in the queue.",
    ),
    "queue_age_epochs": (
        "Age of the oldest key in epochs",
        "epochs",
        "Above 1 the queue holds old keys of the very image.",
    ),
    "pixel_match": (
        "Pairs that pixels alone tell",
        "share of the images",
        "Second view nearest by 8x8 thumbnails; above 1/2 the views are too alike.",
    ),
    "ema_distance": (
        "Distance of the key encoder",
        "share of the weights' norm",
        "How far it lags behind the query encoder.",
    ),
    "grad_norm": ("Gradient norm", "L2 norm", "Of all parameters together."),
}
SPREAD = {"pos_sim_mean": "pos_sim_std", "neg_sim_mean": "neg_sim_std"}


def loss_section(runs: Sequence[WorkDir]) -> Section:
    """The total and every term of it, weighted as in the total, and the learning rate."""
    names = {name for run in runs for name in run.train if "loss" in name}
    names |= {"lr"} & {name for run in runs for name in run.train}
    charts = []
    ordered = sorted(names, key=lambda name: (name == "lr", name != "loss", name))
    for name in ordered[:MAX_TERMS]:
        title = {"loss": "Total loss", "lr": "Learning rate"}.get(name, name)
        unit = "learning rate" if name == "lr" else "loss"
        lines = {
            run.name: [(run.x(x), value) for x, value in run.train.get(name, [])] for run in runs
        }
        # A schedule that ends near 0 would on a logarithmic axis be all end.
        charts.append(Chart(name, title, unit, lines, runs[0].unit, log=name != "lr"))
    return Section(
        "losses",
        "Loss terms",
        "Weighted, as they are summed. A contrastive loss may rise while the network learns: the "
        "queue's keys get harder. Judge by kNN.",
        draw_all(charts, runs),
    )


def knn_section(runs: Sequence[WorkDir]) -> Section:
    """Every metric of the validations, against what needs no training."""
    intro = "Of the frozen backbone at each validation: the one curve that says what was learnt."
    names = sorted({name for run in runs for name in run.metrics})
    if len(names) > MAX_METRICS:
        intro += f" The first {MAX_METRICS} of {len(names)} metrics are drawn."
    charts = []
    for name in names[:MAX_METRICS]:
        lines = {run.name: run.metrics.get(name, []) for run in runs}
        unit = "accuracy (%)" if "accuracy" in name else name
        charts.append(
            Chart(f"metric {name}", name, unit, lines, runs[0].unit, levels=_levels(runs, name))
        )
    return Section("knn", "Accuracy while training", intro, draw_all(charts, runs))


def health_section(runs: Sequence[WorkDir]) -> Section:
    """The values that the verdicts rest on, those that are new to this file too."""
    found = {name for run in runs for entry in run.health for name in values_of(entry)}
    known = [name for name in HEALTH if name in found]
    drawn_elsewhere = {"nce_uninformed", *SPREAD.values()}
    charts = []
    further = sorted(found - HEALTH.keys() - drawn_elsewhere)
    for name in known + further[:MAX_TERMS]:
        title, unit, note = HEALTH.get(name, (name, "as logged", ""))
        charts.append(
            Chart(
                f"health {name}",
                title,
                unit,
                {run.name: health_points(run, name) for run in runs},
                note=note,
                levels={"a guess": 1.0} if name == "nce_ratio" else {},
                spread={run.name: health_points(run, SPREAD.get(name, "")) for run in runs},
            )
        )
    intro = "Means over each epoch, measured on training batches by HealthHook."
    return Section("health", "Health of the embedding", intro, draw_all(charts, runs))


def draw_all(charts: Sequence[Chart], runs: Sequence[WorkDir]) -> list[Figure]:
    """The charts; one that cannot be drawn is noted as missing."""
    drawn = [attempt(runs[0], f"the curve of {chart.name}", chart.draw) for chart in charts]
    return [figure for figure in drawn if figure is not None]


def health_points(run: WorkDir, name: str) -> Points:
    """(epoch, value) of a health value."""
    return [(e["epoch"], values_of(e)[name]) for e in run.health if name in values_of(e)]


def values_of(entry: dict) -> dict[str, float]:
    """The numbers of an entry of health.jsonl."""
    values = entry.get("values")
    items = values.items() if isinstance(values, dict) else ()
    return {key: float(value) for key, value in items if isinstance(value, int | float)}


def _levels(runs: Sequence[WorkDir], metric: str) -> dict[str, float]:
    """What needs no training, where the runs' summary hook measured it by this metric."""
    levels: dict[str, float] = {}
    for key, label in (("raw_pixels", "raw pixels"), ("largest_class", "largest class")):
        for run in runs:
            value = run.summary.get(key)
            if run.summary.get("metric") == metric and isinstance(value, int | float):
                levels.setdefault(label, float(value))
    return levels
