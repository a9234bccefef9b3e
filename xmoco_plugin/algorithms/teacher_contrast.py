# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import torch
import torch.nn.functional as F
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import MODELS

from ..distributed import gather_rows, shared_seed, world
from ..momentum import write_ring
from ..precision import unit_norm

AskTeacher = Callable[[torch.Tensor], torch.Tensor]
_NOTHING = (
    "TeacherContrast got no {what}: custom_hooks=[dict(type='TeacherHook', ...)] hands them over "
    "before the first step (docs/teacher.md)"
)


class Bank(Protocol):
    """Stored keys of a set, as ``TeacherHook`` hands them over."""

    def own(self, places: torch.Tensor, device: torch.device) -> torch.Tensor: ...

    def draw(self, count: int, seed: int, device: torch.device) -> torch.Tensor: ...


@MODELS.register_module()
class TeacherContrast(BaseSelfSupervisor):
    """A student whose similarities are to be those that a frozen teacher sees.

    The keys come from a network of any architecture that is not trained and not part of this
    module: ``TeacherHook`` hands over either the stored keys of all images (``bank``), so that a
    step is a forward and a backward pass of the student, or the teacher itself (``ask``), which
    then sees the student's own crops; its past keys go through a queue. Exports and fine-tuning
    take ``backbone``, as from ``XMoCo``.

    Args:
        backbone, data_preprocessor, init_cfg: as in mmpretrain's self-supervised algorithms.
        neck: from the backbone's output to the teacher's keys; None gives the backbone's pooled
            output, for terms that need no common space.
        head: ``TeacherHead``, or any head with ``loss(q, k, keys) -> dict``.
        feat_dim: of the teacher's keys.
        num_keys: other images' keys that a step compares with.
        own_crop: the teacher sees the student's crops, not stored once.
        stand_in: keys are noise; only to measure what a step costs.

    Attributes:
        bank: stored keys; None until they are handed over.
        ask: views as the student gets them, (n, C, H, W) -> keys (n, feat_dim), unit norm.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict | None,
        head: dict,
        feat_dim: int = 256,
        num_keys: int = 4096,
        own_crop: bool = False,
        stand_in: bool = False,
        **kwargs,
    ) -> None:
        super().__init__(backbone, neck, head, **kwargs)
        if num_keys < 1 or feat_dim < 1:
            raise ValueError(
                f"num_keys and feat_dim must be at least 1, got {num_keys} and {feat_dim}"
            )
        self.feat_dim, self.num_keys = feat_dim, num_keys
        self.own_crop, self.stand_in = own_crop, stand_in
        self.bank: Bank | None = None
        # In a tuple, so that the teacher is no part of this module: of its state, mode, gradients.
        self._ask: tuple[AskTeacher, ...] = ()
        # Keys of all processes so far: of what is drawn next, and of the queue's oldest slot.
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self._seen: int | None = 0  # the same for the host, which asks no device; None: to be read
        self._seed: int | None = None
        if own_crop:
            self.queue_len = num_keys  # what HealthHook reads the age of the keys by
            self.register_buffer("queue", torch.zeros(feat_dim, num_keys))

    @property
    def ask(self) -> AskTeacher | None:
        return self._ask[0] if self._ask else None

    @ask.setter
    def ask(self, teacher: AskTeacher | None) -> None:
        self._ask = () if teacher is None else (teacher,)

    def loss(self, inputs: Sequence[torch.Tensor] | torch.Tensor, data_samples=None, **kwargs):
        """Terms of one batch.

        Args:
            inputs: views, each (n, C, H, W); the mean over them where there are several.
            data_samples: of which ``sample_idx`` is the image's place in the set.

        Returns:
            The head's dict of weighted ``loss_*`` terms.

        Raises:
            RuntimeError: no teacher was handed over.
        """
        views = [inputs] if isinstance(inputs, torch.Tensor) else list(inputs)
        queries = [self.encode(view) for view in views]  # each (n, D)
        keys, others = self._keys(views, data_samples)
        terms = [self.head.loss(q, k, others) for q, k in zip(queries, keys, strict=True)]
        self._advance(keys)
        return {name: sum(t[name] for t in terms) / len(terms) for name in terms[0]}

    def encode(self, images: torch.Tensor) -> torch.Tensor:
        """(n, C, H, W) -> unit-norm embeddings of the student (n, D), with gradient."""
        features = self.backbone(images)
        if self.neck is not None:
            return unit_norm(self.neck(features)[0])
        last = features[-1] if isinstance(features, tuple | list) else features
        return unit_norm(last.mean(dim=(2, 3)) if last.ndim == 4 else last)

    @torch.no_grad()
    def _keys(
        self, views: list[torch.Tensor], data_samples: Any
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The teacher's keys for each view, (n, E), and those of other images, (E, K)."""
        device = views[0].device
        if self.stand_in:
            noise = torch.randn(len(views[0]) + self.num_keys, self.feat_dim, device=device)
            own, others = F.normalize(noise, dim=1).split((len(views[0]), self.num_keys))
            return [own] * len(views), others.T
        if self.own_crop:
            if self.ask is None:
                raise RuntimeError(_NOTHING.format(what="teacher"))
            filled = min(self.keys_seen, self.num_keys)
            return [self.ask(view) for view in views], self.queue[:, :filled].clone()
        if self.bank is None:
            raise RuntimeError(_NOTHING.format(what="stored features"))
        own = self.bank.own(_places(data_samples, len(views[0])), device)
        if self._seed is None:
            self._seed = shared_seed(device)
        # From numbers that all ranks share and that a checkpoint keeps: a run that resumes draws
        # what it would have drawn.
        seed = hash((self._seed, self.keys_seen)) % 2**63
        return [own] * len(views), self.bank.draw(self.num_keys, seed, device)

    @property
    def keys_seen(self) -> int:
        """Keys of all processes so far; asks the device only after loading."""
        if self._seen is None:
            self._seen = int(self.seen.item())
        return self._seen

    @torch.no_grad()
    def _advance(self, keys: list[torch.Tensor]) -> None:
        """Count the keys of a step, and let those of all ranks into the queue, view by view."""
        seen = self.keys_seen
        count = len(keys[0]) * len(keys) * world()[1]
        if self.own_crop and not self.stand_in:
            entering = torch.cat([gather_rows(k) for k in keys])
            write_ring(self.queue, seen % self.num_keys, entering.to(self.queue.dtype))
        self._seen = seen + count
        self.seen.fill_(self._seen)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._seen = None


def _places(data_samples: Any, images: int) -> torch.Tensor:
    """The places of the images in the set, (n,) int64 on the CPU.

    Raises:
        ValueError: the samples do not carry them.
    """
    found = [getattr(sample, "sample_idx", None) for sample in data_samples or ()]
    if len(found) != images or any(place is None for place in found):
        raise ValueError(
            "stored features are found by an image's place in the set, which the pipeline hands on "
            "with PackInputs(meta_keys=('sample_idx', ...)): it is missing"
        )
    return torch.tensor(found, dtype=torch.long)
