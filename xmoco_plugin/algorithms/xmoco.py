# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import inspect

import torch
from mmpretrain.models import MoCo
from mmpretrain.registry import MODELS
from torch import nn

from ..distributed import gather_rows, shared_seed
from ..momentum import MomentumEncoder, ShufflePlan, filled_slots, write_ring
from ..precision import unit_norm


@MODELS.register_module()
class XMoCo(MoCo):
    """MoCo with cross-similarity consistency (our reading of arXiv 2206.04676; docs/method.md).

    The state dict has the keys of mmpretrain's MoCo, so that checkpoints go both ways.

    Args:
        backbone, neck, queue_len, feat_dim, pretrained, data_preprocessor, init_cfg: as in
            mmpretrain's ``MoCo``.
        head: ``XMoCoHead``, or any head with ``loss(q, k, queue) -> dict``.
        momentum: update rate of the key encoder: the paper's m = 0.999 is 0.001 here.
        symmetric: also swap the roles of the two views and average both passes. The queue is read
            in both before the keys of either enter it.
        exclude_unfilled: leave slots of the queue that no key has filled yet out of every term,
            instead of comparing with random ones as MoCo does. Off by default: with it on, the
            first steps are not MoCo's.
        channels_last: lay the convolutions' weights out as tensor cores read them. Same values up
            to rounding.
        compile_encoders: compile both encoders, with options of ``torch.compile`` or as it is
            (``True``). In place: the state dict keeps its keys. Same values up to rounding.
        **kwargs: passed on to ``MoCo``.
    """

    def __init__(
        self,
        backbone: dict,
        neck: dict,
        head: dict,
        momentum: float = 0.001,
        symmetric: bool = False,
        exclude_unfilled: bool = False,
        channels_last: bool = False,
        compile_encoders: bool | dict = False,
        **kwargs,
    ) -> None:
        super().__init__(backbone, neck, head, momentum=momentum, **kwargs)
        if "queue" not in inspect.signature(self.head.loss).parameters:
            raise TypeError(
                f"XMoCo's head gets embeddings, loss(q, k, queue); {type(self.head).__name__} does "
                "not: use head=dict(type='XMoCoHead', temperature=..., consistency=dict(), "
                "uniformity=dict())"
            )
        self.encoder_k = MomentumEncoder(nn.Sequential(self.backbone, self.neck), momentum)
        self.symmetric = symmetric
        self.exclude_unfilled = exclude_unfilled
        if exclude_unfilled:
            self.queue.zero_()
        # What the host knows of the queue, so that no step asks the device; None: to be read.
        self._slot: int | None = 0  # the oldest, `queue_ptr`
        self._filled: int | None = 0 if exclude_unfilled else self.queue_len
        self._seed: int | None = None
        if channels_last:
            # Here and not in a hook: DistributedDataParallel lays its buckets out like the weights.
            self.to(memory_format=torch.channels_last)
        if compile_encoders is not False:
            for part in (self.backbone, self.neck, self.encoder_k.module):
                part.compile(**({} if compile_encoders is True else compile_encoders))

    def loss(self, inputs: list[torch.Tensor], data_samples=None, **kwargs) -> dict:
        """Terms of one batch; moves the key encoder and the queue.

        Args:
            inputs: two views, each (n, 3, H, W); n is the same on every rank.
            data_samples: not used.

        Returns:
            The head's dict of weighted ``loss_*`` terms, averaged over both passes if symmetric.
        """
        if not isinstance(inputs, list | tuple) or len(inputs) != 2:
            raise ValueError(
                "XMoCo needs two views of each image: use the MultiView transform with "
                f"num_views=2; got {_describe(inputs)}"
            )
        queue = self._readable_queue()
        passes = [tuple(inputs), tuple(reversed(inputs))] if self.symmetric else [tuple(inputs)]
        self.encoder_k.update_parameters(nn.Sequential(self.backbone, self.neck))
        queries = [self.encode_query(query) for query, _ in passes]  # each (n, D)
        keys = [self.encode_key(view, i) for i, (_, view) in enumerate(passes)]  # each (n, D)
        terms = [self.head.loss(q, k, queue) for q, k in zip(queries, keys, strict=True)]
        # Pass by pass, as one process with the whole batch would have them.
        self._dequeue_and_enqueue(torch.cat([gather_rows(k) for k in keys]))
        return {name: sum(t[name] for t in terms) / len(terms) for name in terms[0]}

    def encode_query(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W) -> unit-norm queries (n, D), with gradient."""
        return unit_norm(self.neck(self.backbone(images))[0])

    @torch.no_grad()
    def encode_key(self, images: torch.Tensor, draw: int = 0) -> torch.Tensor:
        """(n, 3, H, W) -> unit-norm keys (n, D), encoded in a shuffled batch.

        Args:
            draw: tells the permutations of one step apart.
        """
        if self._seed is None:
            self._seed = shared_seed(images.device)
        # From numbers that all ranks share and that a checkpoint keeps: no rank has to be told the
        # permutation, and several processes that resume draw those they would have drawn.
        seed = hash((self._seed, self.encoder_k.host_steps, self.slot, draw)) % 2**63
        plan = ShufflePlan.draw(len(images), seed)
        return plan.unshuffle(unit_norm(self.encoder_k(plan.shuffle(images))[0]))

    @property
    def slot(self) -> int:
        """Slot of the queue that the next key replaces; asks the device only after loading."""
        if self._slot is None:
            self._slot = int(self.queue_ptr.item())
        return self._slot

    @property
    def filled(self) -> int:
        """Slots of the queue that are compared with; asks the device only after loading."""
        if self._filled is None:
            self._filled = filled_slots(self.queue) if self.exclude_unfilled else self.queue_len
        return self._filled

    def _readable_queue(self) -> torch.Tensor:
        # A copy: the backward pass needs the queue as it was before this step's keys entered it.
        return self.queue[:, : self.filled].detach().clone()

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys: torch.Tensor) -> None:
        """Write the keys of all ranks, (N, D), into the ring."""
        self._filled = min(self.filled + len(keys), self.queue_len)
        self._slot = write_ring(self.queue, self.slot, keys.to(self.queue.dtype))
        self.queue_ptr.fill_(self._slot)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._slot, self._filled = None, None


def _describe(inputs) -> str:
    return (
        f"{len(inputs)} views" if isinstance(inputs, list | tuple) else f"a {type(inputs).__name__}"
    )
