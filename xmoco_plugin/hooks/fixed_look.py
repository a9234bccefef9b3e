# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a backbone makes of a few fixed training images: figures that need no labels."""

import torch
import torch.nn.functional as F
from mmengine.runner import Runner

from ..distributed import unwrapped
from ..evaluation import evaluation_mode
from ..evaluation.diagnostics import alignment, effective_rank
from ..evaluation.features import channels_first, pool_feature
from ..visualization import choose_images, fixed_views

NEIGHBOURS = 5


def nearest(features: torch.Tensor, count: int = NEIGHBOURS) -> torch.Tensor:
    """The most similar others of each image.

    Args:
        features: (N, D), unit norm, N > count.

    Returns:
        (N, count), int64.
    """
    similarity = features @ features.T
    similarity.fill_diagonal_(-torch.inf)
    return similarity.topk(count, dim=1).indices


def neighbours_kept(before: torch.Tensor, now: torch.Tensor) -> float:
    """Share of the neighbours that still are neighbours.

    Args:
        before, now: (N, K), as from :func:`nearest`.
    """
    same = (before[:, :, None] == now[:, None, :]).any(dim=2)
    return float(same.float().mean())


class FixedLook:
    """Looks at a backbone through the same views of the same training images each time.

    Args:
        most: Images at most; a sixteenth of the set, at least 32, so that a look costs little
            beside an epoch (ours).
        seed: Of the views.
    """

    def __init__(self, most: int = 128, seed: int = 0) -> None:
        self.most, self.seed = most, seed
        self.first: torch.Tensor | None = None  # neighbours at the start, (N, K)

    @torch.no_grad()
    def __call__(self, runner: Runner) -> dict[str, float]:
        """Figures of the backbone's pooled features: docs/judge_a_run.md names them.

        The first call, or what :attr:`first` is set to, is what neighbours are compared with.
        Evaluation mode; nothing that the run draws is disturbed.

        Returns:
            'backbone_rank', 'backbone_alignment' and 'neighbours_kept'; nothing where the pipeline
            gives no views, or the set is too small.
        """
        loader, model = runner.train_dataloader, unwrapped(runner.model)
        count = min(self.most, max(len(loader.dataset) // 16, 32))
        if not hasattr(model, "backbone") or len(loader.dataset) <= NEIGHBOURS:
            return {}
        views = fixed_views(loader, model, choose_images(loader.dataset, count)[0], self.seed)
        if views is None:
            return {}

        def feature(images: torch.Tensor) -> torch.Tensor:
            return pool_feature(channels_first(model.backbone(images), model.backbone))

        with evaluation_mode(model):
            one, two = (
                F.normalize(torch.cat([feature(part) for part in view.split(32)])) for view in views
            )
        found = nearest(one).cpu()
        if self.first is None or self.first.shape != found.shape:
            self.first = found
        return {
            "backbone_rank": round(float(effective_rank(one)), 3),
            "backbone_alignment": round(float(alignment(one, two)), 5),
            "neighbours_kept": round(neighbours_kept(self.first, found), 4),
        }
