# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Networks that mmpretrain and timm know by name: where their weights are, under which licence."""

import difflib
import os
import re
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ..untrusted import printable
from ..weights import CheckpointError, NotFetchedError, cached_file, fetch, shown_url
from .errors import TeacherError
from .inputs import IMAGENET, Inputs, inputs_of
from .libraries import timm_library as _timm
from .sources import Source, open_file

HUB = "https://huggingface.co"
HUB_VARIABLE, TOKEN_VARIABLE = "HF_ENDPOINT", "HF_TOKEN"  # those of Hugging Face's own tools
HUB_FILE = "/resolve/main/model.safetensors"
# What weights of mmpretrain are under, by their names: its metafiles do not say.
LICENCES = (
    (r"dinov2", "Apache-2.0"),
    (r"convnext-v2", "CC-BY-NC 4.0"),
    (r"3rdparty", "not stated by mmpretrain"),
    (r"", "Apache-2.0 (OpenMMLab's own)"),
)
RESTRICTED = re.compile(r"\bnc\b|dinov3|research|non-?commercial", re.IGNORECASE)
# Those that allow any use; every other one is to be read first, whatever its name.
FREE = re.compile(r"apache|mit\b|bsd|isc\b|cc0|unlicense|cc-by-4\.0", re.IGNORECASE)
UNKNOWN = re.compile(r"not stated|unknown|other$", re.IGNORECASE)
FILE = re.compile(r"\.(pth|pt|ckpt|bin|safetensors|tar)$")


class Offer(NamedTuple):
    """A network that is known by name.

    Attributes:
        name: As given.
        library: 'mmpretrain' or 'timm'.
        backbone: Its config, for mmpretrain's registry.
        url: Of its weights.
        place: Where the file lies once it is fetched, or is put by hand.
        megabytes: Of the file, about: its parameters in float32.
        licence: Of the weights, in words.
        mean, std: In 0..255.
        size: The one size of images that it takes; None where it takes any.
        bgr: Whether it takes colours as BGR.
    """

    name: str
    library: str
    backbone: dict[str, Any]
    url: str
    place: Path
    megabytes: float
    licence: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    size: int | None = None
    bgr: bool = False

    @property
    def restricted(self) -> bool:
        """Whether the licence forbids something that a user may want, or is not known."""
        return not FREE.match(self.licence)

    def describe(self) -> str:
        """From where, how large, under which licence, in two sentences."""
        warning = ""
        if UNKNOWN.match(self.licence):
            warning = ": ask where they are from what you may do with them"
        elif RESTRICTED.search(self.licence):
            warning = ", which restricts what you may do with them: read it"
        elif self.restricted:
            warning = ", none of the usual free ones: read what you may do with them"
        return (
            f"{self.name} of {self.library}: about {self.megabytes:,.0f} MB from "
            f"{shown_url(self.url)}. Licence of the weights: {self.licence}{warning}."
        )

    def get(self) -> Path:
        """The file, fetched unless it is there.

        Raises:
            CheckpointError: It cannot be fetched, or is not what it should be.
        """
        of_hub = self.url.startswith(f"{_hub()}/")
        repository = self.url.removesuffix(HUB_FILE) if of_hub else None
        token = os.environ.get(TOKEN_VARIABLE) if repository else None
        try:  # only the first process asks for a teacher
            return fetch(self.url, self.place, alone=True, token=token)
        except NotFetchedError as error:
            way = _way_in(error.status, repository, bool(token))
            raise NotFetchedError(f"{error}{way}", error.status) from None

    def open(self) -> Source:
        """The teacher.

        Raises:
            CheckpointError, TeacherError: As :meth:`get` and :func:`open_file`.
        """
        inputs = self.mean, self.std, self.name, self.bgr
        path = self.get()
        try:
            return open_file(path, self.backbone, *inputs)
        except CheckpointError as error:  # such as a page that asks to log in
            raise CheckpointError(f"{error} Remove {path}, and it is fetched anew.") from None


def _way_in(status: int | None, repository: str | None, token: bool) -> str:
    """What a server wants before it gives a file, in a sentence after a space; mostly nothing."""
    if status in (401, 403) and repository:
        who = "with the account of that token" if token else "with an account there"
        text = f" Its licence must be accepted first: open {shown_url(repository)} {who}"
        if not token:
            text += f", and set {TOKEN_VARIABLE} to a token of it"
        return f"{text}; or put the file by hand."
    if status == 404 and repository and os.environ.get(HUB_VARIABLE):
        return f" {HUB_VARIABLE} is {shown_url(_hub())}, which may not have all that {HUB} has."
    return ""


def _hub() -> str:
    return (os.environ.get(HUB_VARIABLE) or HUB).rstrip("/")


def looks_like_a_file(teacher: str) -> bool:
    """Whether a teacher's name is meant as a path."""
    return "/" in teacher or bool(FILE.search(teacher)) or Path(teacher).expanduser().exists()


def no_file(teacher: str) -> str:
    """That a path names nothing, and what to do where it may be a repository's name."""
    said = f"There is no file {printable(teacher)}."
    if re.fullmatch(r"[\w-]+/[\w.-]+", teacher) and not FILE.search(teacher):
        said += (
            " If it is a repository of a hub, fetch its model.safetensors and name that file, or "
            "name the network as timm or mmpretrain do."
        )
    return said


def offer_of(name: str) -> Offer:
    """The network of a name.

    Raises:
        TeacherError: Neither library has it, or its weights; the nearest names are given.
    """
    found = _of_mmpretrain(name) or _of_timm(name)
    if found is not None:
        return found
    near = difflib.get_close_matches(name.lower(), _names(), n=4, cutoff=0.5)
    hint = f" Nearest: {', '.join(near)}." if near else ""
    raise TeacherError(
        f"--teacher {name}: there is no such file, and {neither('weights under this name')}.{hint}"
    )


def neither(what: str) -> str:
    """That no library has it, in words; and that one was not asked, where it is not there."""
    if _timm() is None:
        return f"mmpretrain has no {what}; timm may, and is not installed (pip install timm)"
    return f"neither mmpretrain nor timm has {what}"


def network_of(name: str) -> tuple[dict[str, Any], Inputs]:
    """The config of a network of a name, and what the weights of this name take.

    Raises:
        TeacherError: Neither library has it.
    """
    try:
        found = offer_of(name)
    except TeacherError:
        if (backbone := timm_backbone(name)) is None:
            raise
        return backbone, IMAGENET
    return found.backbone, (found.mean, found.std, found.bgr)


def timm_backbone(name: str) -> dict[str, Any] | None:
    """The config of a network of timm, without weights; None where timm has none such."""
    timm = _timm()
    base = name.split(".")[0]
    if timm is None or not timm.is_model(base):
        return None
    config: dict[str, Any] = dict(type="TIMMBackbone", model_name=base)
    try:  # vision transformers that take images of any size
        with torch.device("meta"):
            timm.create_model(base, dynamic_img_size=True)
        config["dynamic_img_size"] = True
    except TypeError:
        pass
    return config


def _of_timm(name: str) -> Offer | None:
    backbone = timm_backbone(name)
    timm = _timm()
    if backbone is None or timm is None:
        return None
    facts = timm.models.get_pretrained_cfg(name)
    if facts is None or not (facts.url or facts.hf_hub_id):
        return None
    if facts.hf_hub_id:  # in timm's own names, which older addresses are not; many have one name
        url = f"{_hub()}/{facts.hf_hub_id}{HUB_FILE}"
        place = cached_file(f"https://x/timm-{facts.hf_hub_id.rsplit('/', 1)[-1]}.safetensors")
    else:
        url, place = facts.url, cached_file(facts.url)
    with torch.device("meta"):
        model = timm.create_model(name.split(".")[0])
    fixed = facts.fixed_input_size and not backbone.get("dynamic_img_size")
    return Offer(
        name=name,
        library="timm",
        backbone=backbone,
        url=url,
        place=place,
        megabytes=sum(p.numel() for p in model.parameters()) * 4e-6,
        licence=facts.license or "not stated by timm",
        mean=tuple(255 * v for v in facts.mean),
        std=tuple(255 * v for v in facts.std),
        size=facts.input_size[-1] if fixed else None,
    )


def _of_mmpretrain(name: str) -> Offer | None:
    from mmpretrain.apis.model import ModelHub

    try:
        facts = ModelHub.get(name)
    except (ValueError, KeyError, RuntimeError):  # none such, or one that is no network of images
        return None
    model = facts.config.get("model", {})
    if not facts.weights or not isinstance(model.get("backbone"), dict):
        return None
    backbone = {k: v for k, v in model["backbone"].to_dict().items() if k != "init_cfg"}
    pixels = model.get("data_preprocessor") or facts.config.get("data_preprocessor")
    mean, std, bgr = inputs_of(pixels)
    metadata = facts.metadata
    return Offer(
        name=name,
        library="mmpretrain",
        backbone=backbone,
        url=facts.weights,
        place=cached_file(facts.weights),
        megabytes=(getattr(metadata, "parameters", None) or 0) * 4e-6,
        licence=next(words for pattern, words in LICENCES if re.search(pattern, name.lower())),
        mean=mean,
        std=std,
        bgr=bgr,
    )


def _names() -> list[str]:
    from mmpretrain.apis.model import ModelHub

    timm = _timm()
    return [*ModelHub._models_dict, *(timm.list_pretrained() if timm is not None else ())]
