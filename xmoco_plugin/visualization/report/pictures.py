# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from .attempt import attempt as attempted
from .bank import Bank
from .figure import Figure
from .neighbours import neighbour_figure
from .network import Network
from .similarity import SimilarityMaps, collect_maps
from .tsne import tsne_figure
from .views import views_figure
from .work_dir import WorkDir

T = TypeVar("T")
Say = Callable[[str], None]


@dataclass
class Pictures:
    """What is computed from a run's data and checkpoints, as far as it can be."""

    maps: SimilarityMaps = field(default_factory=SimilarityMaps)
    neighbours: Figure | None = None
    tsne: Figure | None = None
    views: Figure | None = None

    @classmethod
    def draw(cls, run: WorkDir, number: int, images: int, say: Say = print) -> "Pictures":
        """Compute and draw; what fails is noted in ``run.missing``, and the rest is drawn.

        Args:
            run: with a config, or nothing is drawn.
            number: of the run in the page.
            images: among which neighbours are looked for.
            say: told what is being computed.
        """

        def attempt(what: str, work: Callable[[], T]) -> T | None:
            say(f"{run.name}: {what}")
            return attempted(run, what, work)

        pictures, config, last = cls(), run.config, run.last
        network = None
        if config is not None:
            network = attempt("the data of the config", lambda: Network(config))
        if network is None:
            return pictures
        pictures.views = attempt(
            "views of training images", lambda: views_figure(run, number, network)
        )
        if last is None:
            return pictures
        maps = attempt("similarity maps", lambda: collect_maps(run, network))
        pictures.maps = maps or pictures.maps
        bank = attempt(
            f"features of up to {images:,} images ({last.name})",
            lambda: Bank.collect(network, network.model(last), images),
        )
        if bank is not None:
            pictures.neighbours = attempt(
                "nearest neighbours", lambda: neighbour_figure(run, number, network, bank)
            )
            pictures.tsne = attempt("t-SNE", lambda: tsne_figure(run, number, network, bank))
        return pictures
