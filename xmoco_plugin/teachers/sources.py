# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""From a file of weights to a teacher: which network it is, and that all its weights are there."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from mmpretrain.registry import MODELS
from torch import nn

from ..checkpoint import (
    CheckpointError,
    compare_state,
    describe_difference,
    read_checkpoint,
    state_dict_of,
)
from ..export import (
    architecture,
    find_backbone,
    further_layers,
    known_config,
    stored_settings,
)
from ..export.alignment import CLASSIFIER
from ..untrusted import SettingsRefusedError, check_model_settings, printable
from ..untrusted.run_settings import reason as refused_for
from ..weights import check_kinds
from .errors import TeacherError
from .inputs import IMAGENET, Inputs, inputs_of, value_range_of
from .large import (
    check_periods,
    fitted,
    network_in,
    on_its_grid,
    sizes_of,
    sizes_of_network,
    takes,
)
from .layouts import Layers, layers_of
from .network import FrozenTeacher
from .words import described, left_note, named

TIMM = "timm_model."  # what mmpretrain puts before timm's names


class Source(NamedTuple):
    """A teacher's network with its weights.

    Attributes:
        name: Of the file or network, as messages show it.
        settings: Config of the backbone, for mmpretrain's registry.
        backbone: Built, with the weights.
        mean, std: Of its training, in 0..255, in the order of its channels.
        digest: Of weights, network and what it is given.
        bgr: Whether it takes colours as BGR.
        value_range: What its training read as 0 and 255, where it was on images of many channels.
        left_out: Keys of the file that are of none of the network's layers.
        seen: What the layers alone have shown, in words; empty where the network was named.
    """

    name: str
    settings: dict[str, Any]
    backbone: nn.Module
    mean: tuple[float, ...]
    std: tuple[float, ...]
    digest: str
    bgr: bool = False
    value_range: tuple[float, float] | None = None
    left_out: tuple[str, ...] = ()
    seen: str = ""

    def notes(self) -> list[str]:
        """What is to be said of how the file was read, a line each."""
        shown = printable(self.name)
        found = [f"{shown} is, by its layers, a {self.seen}"] if self.seen else []
        return [*found, f"{shown}: {left_note(self.left_out)}"][: len(found) + bool(self.left_out)]

    def frozen(self, size: int, pictures: bool = True) -> FrozenTeacher:
        """The network as it is asked, with images of so many pixels a side.

        Args:
            size: In pixels.
            pictures: Whether it is shown pictures, and not channels of images of many.
        """
        return FrozenTeacher(self.backbone, size, self.mean, self.std, self.bgr, pictures)


def open_file(
    path: str | Path,
    settings: Mapping[str, Any] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    name: str = "",
    bgr: bool | None = None,
    usual: Inputs = IMAGENET,
) -> Source:
    """Reads a teacher from a file that the project reads.

    Args:
        path: A checkpoint of ours, of mmpretrain, torchvision or timm.
        settings: Config of the backbone; default: what the file, or ``config.py`` beside an
            export, says, else what its layers show.
        mean, std: Of its training; default: what the file says, else the usual.
        name: For messages; default: the file's.
        bgr: Whether it takes BGR; default: what the file says, else the usual.
        usual: What is taken where the file does not say; default: ImageNet's, in RGB.

    Raises:
        CheckpointError: The file cannot be read.
        TeacherError: It does not say which network it is, or holds another one's weights.
    """
    path = Path(path).expanduser()
    checkpoint = read_checkpoint(path)
    stored = _stored(checkpoint, path, settings is not None)
    pixels = stored["model"].get("data_preprocessor") or stored.get("data_preprocessor")
    chosen = dict(settings) if settings is not None else stored["model"].get("backbone")
    layers = None
    if settings is not None or not chosen:
        layers = layers_of(checkpoint)
    by_layers = not chosen
    if by_layers:
        chosen, shown = _by_its_layers(checkpoint, layers, path)
        usual = shown or usual
    chosen = check_model_settings(chosen, path)
    chosen = _without_splits(chosen)
    backbone = _build(chosen, path)
    if layers is not None and not takes(layers, chosen, backbone):
        layers = None
    if layers is not None and (other := on_its_grid(chosen, layers, backbone)):
        chosen, backbone = other, _build(other, path)
    state, left = _weights(checkpoint, layers, chosen, backbone, path)
    seen = described(chosen, layers) if by_layers else ""
    backbone.load_state_dict(state, strict=False)
    backbone.eval()  # which returns None in many of them
    said = inputs_of(pixels) if pixels else usual
    mean, std = tuple(mean or said[0]), tuple(std or said[1])
    bgr = said[2] if bgr is None else bgr
    digest = _digest(backbone, chosen, mean, std, bgr)
    inputs = mean, std, digest, bgr, value_range_of(pixels)
    return Source(name or path.name, chosen, backbone, *inputs, tuple(left), seen)


def _without_splits(settings: dict[str, Any]) -> dict[str, Any]:
    """A backbone's config with BN for SplitBN, which is the same outside of training."""
    norm = dict(settings.get("norm_cfg") or {})
    if str(norm.get("type")).split(".")[-1] != "SplitBN":
        return settings
    norm = {k: v for k, v in norm.items() if k not in ("type", "num_splits")}
    kept = {k: v for k, v in settings.items() if k != "norm_cfg"}
    return kept | (dict(norm_cfg=dict(type="BN", **norm)) if norm else {})


def _stored(checkpoint: Mapping[str, Any], path: Path, named: bool) -> dict[str, Any]:
    """The settings of the model that come with a checkpoint, through the gate; 'model' is there.

    Those that may not be built are as good as none, where the network is named.
    """
    try:
        found, source = stored_settings(checkpoint, path)
    except CheckpointError as error:
        raise TeacherError(str(error)) from None
    if not isinstance(found.get("model"), dict) or "_base_" in found:
        return {"model": {}}
    built = {k: found[k] for k in ("model", "data_preprocessor") if found.get(k) is not None}
    try:
        return check_model_settings(built, source)
    except SettingsRefusedError as error:
        if named:
            return {"model": {}}
        raise TeacherError(
            f"{refused_for(error)}. Name the network: --teacher-model NAME"
        ) from None


def _by_its_layers(
    checkpoint: Mapping[str, Any], layers: Layers | None, path: Path
) -> tuple[dict[str, Any], Inputs | None]:
    """The config of the network in a file, and what its images were where that is unusual."""
    way = (
        f"{printable(path)} does not say which network its weights belong to: name it, "
        "--teacher-model NAME of mmpretrain or timm"
    )
    if layers is not None:
        try:
            seen = network_in(layers)
        except TeacherError as error:
            raise TeacherError(f"{printable(path)}: {error}") from None
        if seen is not None:
            return seen
        if layers.kind == "vit":
            raise TeacherError(f"{way} (it is a vision transformer of {sizes_of(layers)})")
    try:
        state = find_backbone(checkpoint).state
    except (CheckpointError, KeyError) as error:
        raise TeacherError(f"{way} ({printable(str(error))})") from None
    known = known_config(state)
    if known is None:
        raise TeacherError(f"{way} (it is a {architecture(state)})")
    return known, None


def _build(settings: dict[str, Any], path: Path) -> nn.Module:
    log = MMLogger.get_current_instance()
    level = log.level
    log.setLevel("WARNING")  # the host writes a line for each block of timm's
    try:
        with DefaultScope.overwrite_default_scope("mmpretrain"), torch.random.fork_rng(devices=[]):
            return MODELS.build(dict(settings))
    except Exception as error:  # whatever a backbone may say of settings that anybody wrote
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise TeacherError(
            f"{printable(path)}: the teacher's network {settings.get('type')} cannot be built: "
            f"{printable(reason[:200])}"
        ) from error
    finally:
        log.setLevel(level)


def _weights(
    checkpoint: Mapping[str, Any],
    layers: Layers | None,
    settings: dict[str, Any],
    backbone: nn.Module,
    path: Path,
) -> tuple[dict[str, Any], list[str]]:
    """What the network takes of a file, and the keys of what it does not."""
    ours = backbone.state_dict()
    if layers is not None:
        theirs, left = _of_layers(layers, settings, backbone, path), layers.left_out
    elif settings["type"] == "TIMMBackbone":
        theirs = {k.removeprefix("backbone."): v for k, v in state_dict_of(checkpoint).items()}
        theirs, left = {k if k.startswith(TIMM) else TIMM + k: v for k, v in theirs.items()}, []
    else:
        try:
            found = find_backbone(checkpoint)
            theirs, left = found.state, found.left_out
        except CheckpointError:  # of a family whose names other libraries do not share
            theirs, left = state_dict_of(checkpoint), []
    difference = compare_state(ours, theirs)
    if difference.missing or difference.mismatched:
        raise TeacherError(
            f"{printable(path)} does not hold the weights of a {named(settings)}:\n"
            f"{describe_difference(difference)}"
        )
    if deeper := _further(ours, theirs):
        raise TeacherError(
            f"{printable(path)} holds a deeper network than a {named(settings)}, with "
            f"{len(deeper):,} tensors of further layers such as {printable(deeper[0])}"
        )
    check_kinds(ours, theirs)
    left = [*left, *(key.removeprefix(TIMM) for key in difference.unexpected)]
    return {key: theirs[key] for key in ours if key in theirs}, left


def _of_layers(
    layers: Layers, settings: Mapping[str, Any], backbone: nn.Module, path: Path
) -> dict[str, Any]:
    """A file's layers in the names of a network of the same kind.

    Raises:
        TeacherError: It has other sizes, or other settings; with both.
    """
    if layers.kind == "vit":
        theirs, ours = sizes_of(layers), sizes_of_network(backbone)
        if ours is not None and theirs != ours:
            raise TeacherError(
                f"{printable(path)} does not hold the weights of a {named(settings)}: it is a "
                f"vision transformer of {theirs}, and that network has {ours}. Name another, or "
                "leave --teacher-model out where the layers say enough"
            )
    try:
        for key, value in layers.beside.items():
            if key.endswith("rope_embed.periods"):
                check_periods(value, backbone)
        return fitted(layers, backbone)
    except TeacherError as error:
        raise TeacherError(f"{printable(path)}: {error}") from None


def _further(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> list[str]:
    """Keys of a file in the stages of the network that are no layers of it, nor a head."""
    wanted, found = (
        {key.removeprefix(TIMM): value for key, value in state.items()} for state in (ours, theirs)
    )
    return [key for key in further_layers(wanted, found) if not CLASSIFIER.match(key)]


def _digest(backbone: nn.Module, settings: dict, mean: tuple, std: tuple, bgr: bool) -> str:
    said = (sorted(settings.items()), mean, std, *["BGR"] * bgr)
    found = hashlib.blake2b(repr(said).encode(), digest_size=16)
    for key, value in sorted(backbone.state_dict().items()):
        found.update(key.encode())
        found.update(value.detach().cpu().contiguous().view(-1).view(torch.uint8).numpy().tobytes())
    return found.hexdigest()
