# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What an algorithm has of a frozen teacher: its keys, stored or asked for, and what is drawn."""

from collections.abc import Sequence
from typing import Any, NamedTuple, Protocol

import torch
import torch.nn.functional as F
from mmpretrain.models import BaseSelfSupervisor
from torch import nn

from ..distributed import gather_rows, shared_seed, world
from ..momentum import write_ring
from ..precision import unit_norm
from .places import student_places

_NOTHING = (
    "{name} got no {what}: custom_hooks=[dict(type='TeacherHook', ...)] hands them over before the "
    "first step (docs/teacher.md)"
)
STAND_IN_GRID = 7  # places a side of a teacher's map that is noise: a ResNet's of 224 px


class Bank(Protocol):
    """Stored keys of a set, as ``TeacherHook`` hands them over."""

    def own(self, places: torch.Tensor, device: torch.device) -> torch.Tensor: ...

    def draw(self, count: int, seed: int, device: torch.device) -> torch.Tensor: ...


class AskTeacher(Protocol):
    """Views as the student gets them, (n, C, H, W) -> keys (n, D), unit norm.

    With ``places=True`` also the keys of places, (n, D, h, w), unit norm over D.
    """

    def __call__(self, views: torch.Tensor, places: bool = False) -> Any: ...


class Shown(NamedTuple):
    """What a student makes of one view: embeddings (n, D), and its map (n, C, h, w) if wanted."""

    embedding: torch.Tensor
    places: torch.Tensor | None


class Taught(BaseSelfSupervisor):
    """Base of the algorithms with a frozen teacher of any architecture, which is no part of them.

    ``TeacherHook`` hands over either the stored keys of all images (``bank``) or the teacher itself
    (``ask``), which then sees the student's own crops; its past keys go through a queue.

    Attributes:
        teacher_dims: of a key.
        bank: stored keys; None until they are handed over.
        ask: see :class:`AskTeacher`; None until it is handed over.
    """

    teacher_queue_name = "queue"

    def expect_teacher(
        self,
        head: nn.Module,
        neck: nn.Module | None,
        dims: int,
        num_keys: int,
        own_crop: bool,
        stand_in: bool = False,
    ) -> None:
        """To be called at the end of ``__init__``.

        Args:
            head: ``TeacherHead``, or any with ``loss(q, k, keys) -> dict``.
            neck: from the backbone's output to the teacher's keys, or None.
            dims: of the teacher's keys.
            num_keys: other images' keys that a step compares with.
            own_crop: the teacher sees the student's crops, not stored once.
            stand_in: keys are noise; only to measure what a step costs.

        Raises:
            ValueError: numbers below 1, a term that stored features do not serve, or a neck that
                no term uses.
        """
        if num_keys < 1 or dims < 1:
            raise ValueError(
                f"num_keys and the dimensions of the keys must be at least 1, got {num_keys} and "
                f"{dims}"
            )
        self.wants_places = bool(getattr(head, "wants_places", False))
        if self.wants_places and not (own_crop or stand_in):
            raise ValueError(
                "dense compares places of the student's crop, and stored features are of whole "
                "images: set model.own_crop=True and TeacherHook(features=None), or dense=None"
            )
        self._wants_embeddings = bool(getattr(head, "wants_embeddings", True))
        if neck is not None and not (self._wants_embeddings or head.dense.common_space):
            raise ValueError(
                "dense=dict(match='relation') alone compares the backbone's own places, so that "
                "nothing would train the neck: set it to None, or give the head another term"
            )
        self.teacher_dims, self.num_keys = dims, num_keys
        self.own_crop, self.stand_in = own_crop, stand_in
        self.bank: Bank | None = None
        # In a tuple, so that the teacher is no part of this module: of its state, mode, gradients.
        self._ask: tuple[AskTeacher, ...] = ()
        # Keys of all processes so far: of what is drawn next, and of the queue's oldest slot.
        self.register_buffer("seen", torch.zeros((), dtype=torch.long))
        self._seen: int | None = 0  # the same for the host, which asks no device; None: to be read
        self._teacher_seed: int | None = None
        if own_crop:
            self.register_buffer(self.teacher_queue_name, torch.zeros(dims, num_keys))

    @property
    def ask(self) -> AskTeacher | None:
        return self._ask[0] if self._ask else None

    @ask.setter
    def ask(self, teacher: AskTeacher | None) -> None:
        self._ask = () if teacher is None else (teacher,)

    def show(self, maps: Any, neck: nn.Module | None, head: nn.Module) -> Shown:
        """What a teacher is compared with, of a backbone's output."""
        output = None if neck is None else neck(maps)
        if output is None:
            last = maps[-1] if isinstance(maps, tuple | list) else maps
            embedding = last.mean(dim=(2, 3)) if last.ndim == 4 else last
        else:
            embedding = output[0]
        places = None
        if self.wants_places:
            places = student_places(maps, output if head.dense.common_space else None)
        return Shown(unit_norm(embedding), places)

    def teach(
        self,
        head: nn.Module,
        shown: Sequence[Shown],
        views: Sequence[torch.Tensor],
        data_samples: Any,
    ) -> dict[str, torch.Tensor]:
        """The mean of the head's terms over the views; lets their keys into the queue.

        Args:
            shown: of each view.
            views: each (n, C, H, W).
            data_samples: of which ``sample_idx`` is the image's place in the set.

        Raises:
            RuntimeError: no teacher was handed over.
        """
        keys, others, maps = self._teacher_keys(views, data_samples)
        terms = []
        for seen, own, places in zip(shown, keys, maps, strict=True):
            dense = () if places is None else (seen.places, places)
            found = head.loss(seen.embedding, own, others, *dense)
            if not self._wants_embeddings:
                # The part of a dense neck that makes them has no term. Its gradient is then 0 and
                # not missing, which DistributedDataParallel would wait for.
                found = {key: term + 0 * seen.embedding.sum() for key, term in found.items()}
            terms.append(found)
        self._advance(keys)
        return {name: sum(t[name] for t in terms) / len(terms) for name in terms[0]}

    @torch.no_grad()
    def _teacher_keys(
        self, views: Sequence[torch.Tensor], data_samples: Any
    ) -> tuple[list[torch.Tensor], torch.Tensor, list[torch.Tensor | None]]:
        """For each view keys (n, D), keys of other images (D, K), each view's places or None."""
        device, name = views[0].device, type(self).__name__
        nothing: list[torch.Tensor | None] = [None] * len(views)
        if self.stand_in:
            n, dims = len(views[0]), self.teacher_dims
            noise = torch.randn(n + self.num_keys, dims, device=device)
            own, others = F.normalize(noise, dim=1).split((n, self.num_keys))
            if self.wants_places:
                grid = torch.randn(n, dims, STAND_IN_GRID, STAND_IN_GRID, device=device)
                nothing = [F.normalize(grid, dim=1)] * len(views)
            return [own] * len(views), others.T, nothing
        if self.own_crop:
            if self.ask is None:
                raise RuntimeError(_NOTHING.format(name=name, what="teacher"))
            others = self._teacher_queue[:, : min(self.keys_seen, self.num_keys)].clone()
            if not self.wants_places:
                return [self.ask(view) for view in views], others, nothing
            keys, maps = zip(*(self.ask(view, places=True) for view in views), strict=True)
            return [*keys], others, [*maps]
        if self.bank is None:
            raise RuntimeError(_NOTHING.format(name=name, what="stored features"))
        own = self.bank.own(_places(data_samples, len(views[0])), device)
        if self._teacher_seed is None:
            self._teacher_seed = shared_seed(device)
        # From numbers that all ranks share and that a checkpoint keeps: a run that resumes draws
        # what it would have drawn.
        seed = hash((self._teacher_seed, self.keys_seen)) % 2**63
        return [own] * len(views), self.bank.draw(self.num_keys, seed, device), nothing

    @property
    def _teacher_queue(self) -> torch.Tensor:
        return self.get_buffer(self.teacher_queue_name)

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
            queue = self._teacher_queue
            write_ring(queue, seen % self.num_keys, entering.to(queue.dtype))
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
