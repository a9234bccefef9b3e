# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch
from mmpretrain.registry import MODELS
from torch import nn

from ..distributed import gather_rows, gathers_shared, shared_seed, world
from ..momentum import MomentumEncoder, ShuffledImages, ShufflePlan, filled_slots, write_ring
from .compiled import compile_in_place, without_graphs
from .pairs import query_key_pairs, require_queue_head
from .spaces import MoCoInSpaces


@MODELS.register_module()
class XMoCo(MoCoInSpaces):
    """MoCo with cross-similarity consistency (our reading of arXiv 2206.04676; docs/method.md).

    The state dict has the keys of mmpretrain's MoCo, so that checkpoints go both ways. A term with
    ``space='backbone'`` adds one: ``feature_queue``.

    Args:
        backbone, neck, queue_len, feat_dim, pretrained, data_preprocessor, init_cfg: as in
            mmpretrain's ``MoCo``.
        head: ``XMoCoHead``, or any head with ``loss(q, k, queue) -> dict``.
        momentum: update rate of the key encoder: the paper's m = 0.999 is 0.001 here.
        symmetric: also swap the views' roles; the mean of both, which read the same queue.
        exclude_unfilled: leave slots of the queue that no key has filled yet out of every term,
            instead of comparing with random ones as MoCo does. Off by default: with it on, the
            first steps are not MoCo's.
        channels_last: weights laid out as tensor cores read them. Same values up to rounding.
        compile_encoders: compile both encoders, with options of ``torch.compile`` or ``True``. The
            state dict keeps its keys. Same values up to rounding. ``dict(mode='reduce-overhead')``
            captures them as CUDA graphs: for batches of one size.
        overlap_shuffle: on several processes, let the key images travel while the queries are
            encoded. Same values bit by bit.
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
        overlap_shuffle: bool = True,
        **kwargs,
    ) -> None:
        super().__init__(backbone, neck, head, momentum=momentum, **kwargs)
        require_queue_head(self.head)
        self.encoder_k = MomentumEncoder(nn.Sequential(self.backbone, self.neck), momentum)
        self.symmetric, self.overlap_shuffle = symmetric, overlap_shuffle
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
        self._graphs = compile_in_place(self.encoder_parts, compile_encoders)

    def loss(self, inputs: list[torch.Tensor], data_samples=None, **kwargs) -> dict:
        """Terms of one batch; moves the key encoder and the queue.

        Args:
            inputs: two views, each (n, 3, H, W); n is the same on every rank.
            data_samples: not used.

        Returns:
            The head's dict of weighted ``loss_*`` terms, averaged over both passes if symmetric.
        """
        queue = self._readable_queue()
        passes = query_key_pairs(inputs, self.symmetric)
        moves = self.encoder_k.host_steps
        self.encoder_k.update_parameters(nn.Sequential(self.backbone, self.neck))
        if self._graphs and self.encoder_k.host_steps != moves:
            # Once an optimizer step: gradients being accumulated lie in the graphs' memory.
            torch.compiler.cudagraph_mark_step_begin()
        # One process draws after the queries were encoded, as mmpretrain's MoCo: nothing travels.
        early = self.overlap_shuffle and world()[1] > 1
        shuffled = [self.shuffle(v, i) if early else None for i, (_, v) in enumerate(passes)]
        queries = [self.encode_query(query) for query, _ in passes]  # each (n, D)
        keys = [self.encode_key(v, i, shuffled[i]) for i, (_, v) in enumerate(passes)]  # (n, D)
        with gathers_shared():  # the terms and the queue want the same keys
            terms = [self.compare(*pair, queue) for pair in zip(queries, keys, strict=True)]
            # Pass by pass, as one process with the whole batch would have them.
            self._dequeue_and_enqueue(torch.cat([gather_rows(k) for k in keys]))
        return {name: sum(t[name] for t in terms) / len(terms) for name in terms[0]}

    def extract_feat(self, inputs: torch.Tensor):
        """As the host's, and the caller's to keep: never out of a CUDA graph."""
        with without_graphs(self._graphs):
            return super().extract_feat(inputs)

    def encode_query(self, images: torch.Tensor) -> torch.Tensor:
        """(n, 3, H, W) -> unit-norm queries (n, D), with gradient; see ``MoCoInSpaces``."""
        return self.embed(nn.Sequential(self.backbone, self.neck), images)

    @torch.no_grad()
    def encode_key(
        self, images: torch.Tensor, draw: int = 0, shuffled: ShuffledImages | None = None
    ) -> torch.Tensor:
        """(n, 3, H, W) -> unit-norm keys (n, D), encoded in a batch shuffled here or before."""
        shuffled = self.shuffle(images, draw) if shuffled is None else shuffled
        return shuffled.plan.unshuffle(self.embed(self.encoder_k, shuffled.arrived()))

    def shuffle(self, images: torch.Tensor, draw: int = 0) -> ShuffledImages:
        """Send (n, 3, H, W) on their way; ``draw`` tells the permutations of a step apart."""
        self._seed = shared_seed(images.device) if self._seed is None else self._seed
        # From numbers that all ranks share and that a checkpoint keeps: no rank has to be told the
        # permutation, and several processes that resume draw those they would have drawn.
        seed = hash((self._seed, self.encoder_k.host_steps, self.slot, draw)) % 2**63
        return ShufflePlan.draw(len(images), seed).begin_shuffle(images)

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
        return torch.cat([queue[:, : self.filled] for queue in self.queues]).detach()

    @torch.no_grad()
    def _dequeue_and_enqueue(self, keys: torch.Tensor) -> None:
        """Write the keys of all ranks, (N, D), into the ring."""
        self._filled, start = min(self.filled + len(keys), self.queue_len), self.slot
        for queue, part in zip(self.queues, self.parts(keys), strict=True):
            self._slot = write_ring(queue, start, part.to(queue.dtype))
        self.queue_ptr.fill_(self._slot)

    def _load_from_state_dict(self, *args, **kwargs) -> None:
        super()._load_from_state_dict(*args, **kwargs)
        self._slot, self._filled = None, None
