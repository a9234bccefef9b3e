# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Both views of some training images, as the network gets them."""

from markupsafe import Markup

from ..fixed_views import choose_images
from .figure import Figure
from .network import Network
from .thumbnails import thumbnail
from .work_dir import WorkDir

IMAGES = 16


def views_figure(run: WorkDir, number: int, network: Network) -> Figure | None:
    """Pairs of views from the training pipeline; None where it makes no views."""
    indices, labels = choose_images(network.train.dataset, IMAGES, IMAGES)
    views = network.views(indices)
    if views is None:
        run.missing.append("Views: training makes none, but takes the image as it is.")
        return None
    cells = []
    for i, pair in enumerate(zip(*views, strict=True)):
        what = f"image {i + 1}" + (f", {network.class_name(labels[i])}" if labels else "")
        cells.append(
            Markup('<div class="pair">{}<span>{}</span></div>').format(
                Markup("").join(
                    thumbnail(view, f"View {j + 1} of {what}") for j, view in enumerate(pair)
                ),
                what,
            )
        )
    body = Markup('<div class="pair-grid">{}</div>').format(Markup("").join(cells))
    caption = (
        "Each pair is one image as the network gets it twice, its normalisation undone. "
        "Of a pipeline with MultiView xmoco views shows every step."
    )
    return Figure(f"views-{number}", f"{run.name}: two views", body, caption, wide=True)
