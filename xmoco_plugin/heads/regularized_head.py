# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import inspect
from typing import Any

import torch
from mmengine.logging import MessageHub
from mmpretrain.models.heads import LatentCrossCorrelationHead, LatentPredictHead, MoCoV3Head
from mmpretrain.registry import MODELS

from ..losses.pairs import SimilarityTerm
from ..outputs import outputs_of
from ..precision import unit_norm
from .similarity_terms import NO_FEATURES, SimilarityTerms

# mmpretrain's heads that get two sets of embeddings: their part whose outputs the loss compares,
# and whether it trains both sides.
HOST_HEADS = {
    MoCoV3Head: ("predictor", False),
    LatentPredictHead: ("predictor", False),  # BYOL, SimSiam
    LatentCrossCorrelationHead: ("bn", True),  # Barlow Twins
}


@MODELS.register_module()
class RegularizedHead(SimilarityTerms):
    """A host's head, called unchanged, plus the two terms on the embeddings that it compares.

    Our reading of the claim that XMoCo's terms can be added to any self-supervised algorithm (arXiv
    2206.04676). docs/plug_in.md has, for each algorithm, the two sides, their gradients, and the
    weight that the algorithm gives to what its head returns.

    In a state dict the host's head has the names that it has without this one, so that checkpoints
    go both ways. Whatever else an algorithm or a hook reads of its head, it reads of the host's.

    Args:
        head: the host's head: its config, ``_base_.model.head``.
        consistency, uniformity, init_cfg: see ``SimilarityTerms``.
        after: name of the part of ``head`` whose outputs are compared in place of the head's
            arguments: those of its first call instead of the first, and so on. None: the head's
            predictor or BatchNorm for mmpretrain's heads, none for others.
        key_gradient: let the terms' gradient through to the second argument. None: as mmpretrain's
            head does (``HOST_HEADS``), no for others.

    Attributes:
        pairs_from_algorithm: the algorithm calls :meth:`terms` or :meth:`with_terms` itself, as
            ``RegularizedSimCLR`` does; :meth:`loss` is then the host's alone.

    Raises:
        ValueError: the head does not get two sets of embeddings; the message names what does.
    """

    def __init__(
        self,
        head: dict,
        consistency: dict | None = None,
        uniformity: dict | None = None,
        after: str | None = None,
        key_gradient: bool | None = None,
        init_cfg: dict | list | None = None,
    ) -> None:
        super().__init__(consistency, uniformity, init_cfg)
        if self.wants_features:
            raise ValueError(NO_FEATURES)
        self.head = MODELS.build(head)
        known = [facts for kind, facts in HOST_HEADS.items() if isinstance(self.head, kind)]
        host_after, host_gradient = known[0] if known else (None, False)
        self.after = host_after if after is None else after
        self.key_gradient = host_gradient if key_gradient is None else key_gradient
        self.pairs_from_algorithm = False
        for term in (self.consistency, self.uniformity):
            if isinstance(term, SimilarityTerm):
                term.key_gradient = True  # whether it may be used is decided here, not there
        self.check_host()
        self.register_state_dict_post_hook(_to_host_names)
        self.register_load_state_dict_pre_hook(_from_host_names)

    def check_host(self) -> None:
        """Raise ValueError unless the host's head takes two arguments and has the part `after`."""
        if not hasattr(self.head, "loss"):
            raise ValueError(self._unfit("has no loss()"))
        parameters = inspect.signature(self.head.loss).parameters.values()
        required = [
            p.name for p in parameters if p.default is p.empty and p.kind < p.VAR_POSITIONAL
        ]
        if len(required) != 2:
            raise ValueError(self._unfit(f"takes ({', '.join(required)})"))
        if self.after is not None and not hasattr(self.head, self.after):
            raise ValueError(
                f"{type(self.head).__name__} has no part {self.after!r}: check `after`"
            )

    def loss(self, *args: torch.Tensor) -> Any:
        """What the host's head returns, plus the terms.

        Args:
            *args: what the algorithm gives its head: two sets of embeddings, (N, D) each.

        Raises:
            ValueError: they are something else, such as similarities.
        """
        if self.pairs_from_algorithm:
            return self.head.loss(*args)
        if any(getattr(arg, "ndim", 0) != 2 for arg in args) or len({a.shape for a in args}) != 1:
            shapes = " and ".join(str(tuple(getattr(arg, "shape", ()))) for arg in args)
            raise ValueError(self._unfit(f"was given {shapes}"))
        with outputs_of(getattr(self.head, self.after) if self.after else None) as outputs:
            result = self.head.loss(*args)
        outputs = [o[0] if isinstance(o, list | tuple) else o for o in outputs]
        q, k = (*outputs, *args[len(outputs) :])
        return self.with_terms(result, q, k if self.key_gradient else k.detach())

    def terms(
        self, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor | None = None
    ) -> dict[str, torch.Tensor]:
        """The weighted terms of the normalized embeddings.

        Args:
            q: (N, D), any norm, with gradient.
            k: (N, D), any norm; gradient flows into it if it carries any.
            queue: (D, K), unit-norm columns.
        """
        return super().terms(unit_norm(q), unit_norm(k), queue)

    def with_terms(
        self, result: Any, q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor | None = None
    ) -> Any:
        """The host's result and the terms, in the form of the result.

        A dict gets them as entries beside the host's, whose ``loss`` becomes ``loss_host``: the
        engine's total has that name. A tensor becomes the sum; its parts go to the engine's log as
        ``loss_host``, ``loss_consistency`` and ``loss_uniformity``, one entry for each call.

        Args:
            result: loss of the host's head, scalar, or a dict of losses.
            q, k, queue: see :meth:`terms`.
        """
        terms = self.terms(q, k, queue)
        if isinstance(result, dict):
            host = {"loss_host" if name == "loss" else name: v for name, v in result.items()}
            return {**host, **terms}
        if self.training:
            _log({"loss_host": result, **terms})
        return sum(terms.values(), result)

    def __getattr__(self, name: str) -> Any:
        try:
            return super().__getattr__(name)
        except AttributeError:
            return getattr(super().__getattr__("head"), name)

    def _unfit(self, found: str) -> str:
        ours, host = type(self).__name__, type(self.head).__name__
        return (
            f"{ours} needs a head whose loss(q, k) gets two sets of embeddings, (N, D) each; "
            f"{host} {found}. These get them: {', '.join(kind.__name__ for kind in HOST_HEADS)}. "
            "For SwAVHead use RegularizedSwAVHead. For ContrastiveHead, which gets similarities, "
            "use model.type='RegularizedSimCLR' or 'RegularizedDenseCL', and for MoCo model.type="
            "'XMoCo' with XMoCoHead. For another head write a subclass of RegularizedHead: its "
            "check_host() accepts the head, its loss() calls self.head.loss(...) and returns "
            "self.with_terms(result, q, k); see docs/plug_in.md"
        )


@torch.compiler.disable
def _log(parts: dict[str, torch.Tensor]) -> None:
    # The engine sums the losses of the algorithm's dict, not these. Like all that it logs they are
    # read from the device: once a call.
    hub = MessageHub.get_current_instance()
    values = torch.stack([part.detach() for part in parts.values()]).tolist()
    for name, value in zip(parts, values, strict=True):
        hub.update_scalar(f"train/{name}", value)


def _to_host_names(module, state_dict, prefix, local_metadata) -> None:
    _rename(state_dict, f"{prefix}head.", prefix)


def _from_host_names(module, state_dict, prefix, *args) -> None:
    _rename(state_dict, prefix, f"{prefix}head.")


def _rename(state_dict: dict, old: str, new: str) -> None:
    for name in [name for name in state_dict if name.startswith(old)]:
        state_dict[new + name[len(old) :]] = state_dict.pop(name)
