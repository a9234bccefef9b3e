# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A new backbone in a detector's or segmentor's checkpoint; neck, heads and the rest stay."""

import copy
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from ..checkpoint import CheckpointError, StateDifference, compare_state, describe_difference
from ..untrusted import printable
from .detectors import EMA, check_backbone, counted, inputs_of, parts_of, settings_of
from .names import family
from .places import first_parts, without_wrappers
from .record import backbone_settings, unlike_others
from .sources import Backbone
from .targets import convert

# What of a file belongs to the weights that it had: how their training went on, their average.
OF_THE_OLD = ("optimizer", "optim_wrapper", "param_schedulers", EMA)
PLACES = ("backbone.body.", "backbone.")  # torchvision's detectors, then all others
ENTRIES = ("state_dict", "model")
LAST_STAGE = "layer4"  # of a C4 detector, which has it in its head


class Merged(NamedTuple):
    """A detector's checkpoint with another backbone.

    Attributes:
        checkpoint: To be written.
        replaced: Keys of the file whose values are the new backbone's.
        kept: The other keys of its weights, whose values are as they were.
        dropped: Entries of the file that belong to its old weights, and are not in it any more.
        notes: What else there is to say, a sentence each.
    """

    checkpoint: dict[str, Any]
    replaced: list[str]
    kept: list[str]
    dropped: list[str]
    notes: list[str]


def put_into(
    detector: Mapping[str, Any], backbone: Backbone, source: Mapping[str, Any], record: Any = None
) -> Merged:
    """Put a backbone into a detector's or segmentor's checkpoint.

    Args:
        detector: As read; not changed. Its weights stand in 'state_dict', in 'model' as
            torchvision's trainings have them, or by themselves.
        backbone: The new one.
        source: The checkpoint that the new one is from, as read.
        record: Plain values that say where it is from: ``meta['backbone']`` of the result.

    Raises:
        CheckpointError: It is no detector's, or its backbone has other layers or shapes.
    """
    entry = next((n for n in ENTRIES if isinstance(detector.get(n), Mapping)), None)
    state = detector if entry is None else detector[entry]
    tensors = {k: v for k, v in state.items() if isinstance(v, torch.Tensor)}
    plain = {without_wrappers(key): key for key in tensors}
    if not parts_of(plain):
        raise CheckpointError(
            "it is no detector's or segmentor's checkpoint, which has a neck or heads beside its "
            f"backbone: its keys begin with {first_parts(state)}. A file of the backbone alone is "
            "what --to writes."
        )
    check_backbone(detector)
    stem = next((p for p in PLACES if any(key.startswith(p) for key in plain)), "")
    if not stem:
        raise CheckpointError(
            f"its backbone stands neither under {' nor '.join(map(repr, reversed(PLACES)))}: its "
            f"keys begin with {first_parts(plain)}."
        )
    theirs = {p[len(stem) :]: key for p, key in plain.items() if p.startswith(stem)}
    ours, elsewhere = _fitting({n: tensors[k] for n, k in theirs.items()}, backbone.state)
    new: Any = copy.copy(state)  # an OrderedDict keeps what torch has noted beside its entries
    replaced = [theirs[name] for name in theirs if name in ours]
    for name, value in ours.items():
        if name in theirs:
            new[theirs[name]] = value.detach().to("cpu", copy=True).contiguous()
    averages = {f"ema_{key.replace('.', '_')}" for key in plain}  # mmdet 2's
    for key in [key for key in new if key in averages]:
        del new[key]
    dropped = [name for name in OF_THE_OLD if entry is not None and name in detector]
    result = new
    if entry is not None:
        result = {k: new if k == entry else v for k, v in detector.items() if k not in dropped}
        if record is not None:
            meta = detector.get("meta")
            result["meta"] = {**(meta if isinstance(meta, dict) else {}), "backbone": record}
    new_keys = set(replaced)
    kept = [key for key in new if key in tensors and key not in new_keys]
    if gone := len(state) - len(new):
        dropped.append(f"{gone:,} tensors ema_*")
    return Merged(
        result, replaced, kept, dropped, _notes(theirs, ours, elsewhere, detector, source, backbone)
    )


def _fitting(
    theirs: Mapping[str, torch.Tensor], state: dict[str, Any]
) -> tuple[dict[str, torch.Tensor], list[str]]:
    """The new backbone in the detector's names, and those of its keys that have no place there."""
    named = [state]
    if family(state) == "vit":
        named.append(convert(state, "mmseg"))
    tried = []
    for ours in named:
        elsewhere = [
            key for key in ours if key not in theirs and not key.endswith("num_batches_tracked")
        ]
        missing, _, unlike = compare_state(theirs, ours)
        # The norm of a level that the pretraining does not look at.
        missing = [key for key in missing if not _is_level_norm(key, ours)]
        last = f"{LAST_STAGE}."
        placed = not elsewhere or (
            all(key.startswith(last) for key in elsewhere)
            and not any(key.startswith(last) for key in theirs)
        )
        if placed and not missing and not unlike:
            return dict(ours), elsewhere
        tried.append(StateDifference(missing, elsewhere, unlike))
    worst = min(tried, key=lambda one: sum(len(part) for part in one))
    raise CheckpointError(
        "its backbone (below: the model) is another than the run's (the checkpoint):\n"
        f"{describe_difference(worst)}\nBegin the run with this detector's own "
        "backbone: xmoco pretrain --init and its file."
    )


def _is_level_norm(key: str, ours: Mapping[str, Any]) -> bool:
    """Whether a key is of a norm that stands at a backbone's output, as Swin's norm0 to norm3."""
    name, _, value = key.rpartition(".")
    return (
        name.startswith("norm")
        and name[4:].isdigit()
        and value in ("weight", "bias")
        and any(k.startswith("norm") and k.split(".")[0][4:].isdigit() for k in ours)
    )


def _notes(
    theirs: Mapping[str, str],
    ours: Mapping[str, Any],
    elsewhere: list[str],
    detector: Mapping[str, Any],
    source: Mapping[str, Any],
    body: Backbone,
) -> list[str]:
    notes = []
    if elsewhere:
        notes.append(
            f"{LAST_STAGE} of the run ({len(elsewhere):,} tensors) has no place: this detector has "
            "that stage in its head, which stays as it is"
        )
    own = [n for n in theirs if n not in ours and not n.endswith("num_batches_tracked")]
    if own:
        notes.append(f"not in the run and kept as they were: {counted(own)}")
    seen, trained = inputs_of(detector), inputs_of(source)
    if seen and trained and not seen.is_like(trained):
        notes.append(
            f"warning: the detector gets its images as {seen}, the run got them as {trained}: the "
            "features will not be those of the run. Begin the run with --init and this detector, "
            "which takes over what it gets"
        )
    layers = settings_of(detector).get("model")
    layers = layers.get("backbone") if isinstance(layers, dict) else None
    if body.family == "resnet" and isinstance(layers, dict):  # as --init says of the way in
        said = unlike_others(layers, body.family)
        own_said = unlike_others(backbone_settings(source), body.family)
        if said != own_said:
            notes.append(
                f"warning: the detector computes with {', '.join(said) or 'the usual layers'}, the "
                f"run was trained with {', '.join(own_said) or 'the usual layers'}: the features "
                "will not be those of the run. Train the detector further before you judge it"
            )
    return [printable(note) for note in notes]
