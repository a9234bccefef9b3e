# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a backbone takes for alike: the nearest images of some others."""

import numpy as np
from markupsafe import Markup

from ...evaluation import knn_topk
from .bank import Bank
from .figure import Figure, Table
from .network import Network
from .thumbnails import thumbnail
from .work_dir import WorkDir

NEIGHBOURS = 5


def neighbour_figure(run: WorkDir, number: int, network: Network, bank: Bank) -> Figure:
    """A row a query: the image, then its nearest ones with their cosine."""
    k = min(NEIGHBOURS, len(bank.indices))
    similarity, rows = knn_topk(bank.query_features, bank.features, k)
    found = sorted(set(rows.flatten().tolist()))
    theirs = network.pixels(network.bank, [bank.indices[row] for row in found])
    pixels = dict(zip(found, theirs, strict=True))
    queries = network.pixels(network.queries, bank.queries)
    cells, table, right = [], [], 0
    for i, query in enumerate(queries):
        own = network.class_name(bank.query_labels[i] if bank.labelled else None)
        cells.append(_cell("query", query, f"Query {i + 1}: {own}", f"query: {own}"))
        line = []
        for j, (row, cosine) in enumerate(
            zip(rows[i].tolist(), similarity[i].tolist(), strict=True)
        ):
            word = network.class_name(bank.labels[row] if bank.labelled else None)
            sign, kind = "", "near"
            if bank.labelled:
                same = bank.labels[row] == bank.query_labels[i]
                right += same
                sign, kind = ("✓ ", "near same") if same else ("✗ ", "near other")
            line.append(f"{word} {cosine:.2f}")
            alt = f"Neighbour {j + 1} of query {i + 1}: {word}, cosine {cosine:.2f}"
            cells.append(_cell(kind, pixels[row], alt, f"{sign}{cosine:.2f}"))
        table.append([f"{i + 1}: {own}", *line])
    caption = (
        f"The {k} nearest of {len(bank.indices):,} images by the backbone's features "
        f"({run.last.name if run.last else ''}), cosine below each."
    )
    if bank.labelled:
        share = right / (k * len(queries))
        caption += f" ✓: of the query's class, {share:.0%} of the neighbours."
    body = Markup('<div class="near-grid" style="--columns:{}">{}</div>').format(
        k + 1, Markup("").join(cells)
    )
    header = ["query", *(f"neighbour {j + 1}" for j in range(k))]
    title = f"{run.name}: nearest neighbours"
    return Figure(f"neighbours-{number}", title, body, caption, Table(header, table), wide=True)


def _cell(kind: str, pixels: np.ndarray, alt: str, text: str) -> Markup:
    return Markup('<div class="{}">{}<span>{}</span></div>').format(
        kind, thumbnail(pixels, alt), text
    )
