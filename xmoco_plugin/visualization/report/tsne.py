# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The embedding on a plane."""

import numpy as np

from ..fixed_views import fixed_randomness
from ..run_figure import COLOURS, MARKERS
from .attempt import NotDrawnError
from .bank import Bank
from .figure import Figure
from .network import Network
from .svg import new_axes, to_svg
from .work_dir import WorkDir

IMAGES, LEAST, PERPLEXITY, SEED = 1000, 8, 30.0, 0


def tsne_figure(run: WorkDir, number: int, network: Network, bank: Bank) -> Figure:
    """t-SNE (van der Maaten and Hinton, 2008) of part of the bank, one mark a class.

    Raises:
        ImportError: scikit-learn is not installed.
        NotDrawnError: too few images to have neighbourhoods.
    """
    try:
        from sklearn.manifold import TSNE
    except ImportError as error:
        raise ImportError("t-SNE needs scikit-learn: pip install scikit-learn") from error
    picked = np.unique(np.linspace(0, len(bank.indices) - 1, IMAGES).astype(int))
    if len(picked) < LEAST:
        raise NotDrawnError(f"of {len(picked)} images it says nothing: {LEAST} are the least")
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
            marker=MARKERS[(i + i // len(COLOURS)) % len(MARKERS)],
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
