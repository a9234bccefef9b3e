# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a backbone takes for alike: the nearest images of some others, and a map of all."""

from dataclasses import dataclass

import numpy as np
import torch
from markupsafe import Markup

from ...evaluation import knn_topk
from ..fixed_views import choose_images, fixed_randomness
from ..run_figure import COLOURS, MARKERS
from .figure import Figure, Table
from .network import Network
from .svg import new_axes, to_svg
from .thumbnails import thumbnail
from .work_dir import WorkDir

QUERIES, NEIGHBOURS, CLASSES = 20, 5, 10
TSNE_IMAGES, PERPLEXITY, SEED = 1000, 30.0, 0


@dataclass
class Bank:
    """Images of a run with the features of its last checkpoint.

    Attributes:
        indices: (M,) in the bank's dataset.
        labels: (M,) or [] where the set has none.
        features: (M, D), unit norm.
        queries: (Q,) indices in the queries' dataset, none of them in the bank.
        query_labels: (Q,) or [].
        query_features: (Q, D).
    """

    indices: list[int]
    labels: list[int]
    features: torch.Tensor
    queries: list[int]
    query_labels: list[int]
    query_features: torch.Tensor


def collect_bank(network: Network, model: torch.nn.Module, images: int) -> Bank:
    """Features of ``images`` evenly chosen images, of at most ten classes, and of the queries."""
    queries, query_labels = choose_images(network.queries.dataset, QUERIES, CLASSES)
    indices, labels = choose_images(network.bank.dataset, images, CLASSES)
    if not network.queries_apart:
        kept = [i for i, index in enumerate(indices) if index not in set(queries)]
        indices = [indices[i] for i in kept]
        labels = [labels[i] for i in kept] if labels else []
    return Bank(
        indices,
        labels,
        network.features(model, network.bank, indices),
        queries,
        query_labels,
        network.features(model, network.queries, queries),
    )


def neighbour_figure(run: WorkDir, number: int, network: Network, bank: Bank) -> Figure:
    """A row a query: the image, then its nearest ones with their cosine."""
    k = min(NEIGHBOURS, len(bank.indices))
    similarity, rows = knn_topk(bank.query_features, bank.features, k)
    found = sorted(set(rows.flatten().tolist()))
    theirs = network.pixels(network.bank, [bank.indices[row] for row in found])
    pixels = {row: views[0] for row, views in zip(found, theirs, strict=True)}
    queries = network.pixels(network.queries, bank.queries)
    cells, table, right = [], [], 0
    labelled = bool(bank.labels and bank.query_labels)
    for i, views in enumerate(queries):
        own = network.class_name(bank.query_labels[i] if labelled else None)
        cells.append(_cell("query", views[0], f"Query {i + 1}: {own}", f"query: {own}"))
        line = []
        for j, (row, cosine) in enumerate(
            zip(rows[i].tolist(), similarity[i].tolist(), strict=True)
        ):
            word = network.class_name(bank.labels[row] if labelled else None)
            sign, kind = "", "near"
            if labelled:
                same = bank.labels[row] == bank.query_labels[i]
                right += same
                sign, kind = ("✓ ", "near same") if same else ("✗ ", "near other")
            line.append(f"{word} {cosine:.2f}")
            alt = f"Neighbour {j + 1} of query {i + 1}: {word}, cosine {cosine:.2f}"
            cells.append(_cell(kind, pixels[row], alt, f"{sign}{cosine:.2f}"))
        table.append([f"{i + 1}: {own}", *line])
    share = 100 * right / (k * len(queries)) if labelled and queries else None
    caption = (
        f"The {k} nearest of {len(bank.indices):,} images by the backbone's features "
        f"({run.last.name if run.last else ''}), cosine below each."
    )
    if share is not None:
        caption += f" ✓: of the query's class, {share:.0f} % of the neighbours."
    body = Markup('<div class="near-grid" style="--columns:{}">{}</div>').format(
        k + 1, Markup("").join(cells)
    )
    header = ["query", *(f"neighbour {j + 1}" for j in range(k))]
    title = f"{run.name}: nearest neighbours"
    return Figure(f"neighbours-{number}", title, body, caption, Table(header, table), wide=True)


def tsne_figure(run: WorkDir, number: int, network: Network, bank: Bank) -> Figure:
    """t-SNE (van der Maaten and Hinton, 2008) of part of the bank, one mark a class.

    Raises:
        ImportError: scikit-learn is not installed.
        ValueError: too few images to have neighbourhoods.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError("t-SNE needs scikit-learn: pip install 'xmoco_plugin[report]'") from error
    picked = np.unique(np.linspace(0, len(bank.indices) - 1, TSNE_IMAGES).astype(int))
    if len(picked) < 8:
        raise ValueError(f"t-SNE of {len(picked)} images says nothing")
    perplexity = min(PERPLEXITY, (len(picked) - 1) / 3)
    with fixed_randomness(SEED):
        tsne = TSNE(perplexity=perplexity, random_state=SEED)
        places = tsne.fit_transform(bank.features[picked].numpy())
    labels = np.asarray(bank.labels)[picked] if bank.labels else np.zeros(len(picked), dtype=int)
    figure, axes = new_axes(height=3.6)
    classes = sorted(set(labels.tolist()))
    for i, label in enumerate(classes):
        at = places[labels == label]
        axes.scatter(
            at[:, 0],
            at[:, 1],
            s=9,
            linewidths=0,
            alpha=0.85,
            # Colour and shape never repeat together before 36 classes.
            color=COLOURS[i % len(COLOURS)],
            marker=(MARKERS[(i + i // len(COLOURS)) % len(MARKERS)]),
            label=network.class_name(label) if bank.labels else None,
        )
    axes.set(xticks=[], yticks=[], xlabel="t-SNE 1 (no unit)", ylabel="t-SNE 2 (no unit)")
    if bank.labels:
        figure.legend(loc="outside lower center", ncols=3, fontsize=7.5, markerscale=1.6)
    what = f"images of {len(classes)} classes" if bank.labels else "unlabelled images"
    caption = (
        f"{len(picked):,} {what}, perplexity {perplexity:g}, seed {SEED}. Neighbourhoods mean "
        "something; distances between groups and their sizes do not."
    )
    name, title = f"tsne-{number}", f"{run.name}: t-SNE of the backbone's features"
    return Figure(name, title, to_svg(figure, name, f"{title}. {caption}"), caption)


def _cell(kind: str, pixels: np.ndarray, alt: str, text: str) -> Markup:
    return Markup('<div class="{}">{}<span>{}</span></div>').format(
        kind, thumbnail(pixels, alt), text
    )
