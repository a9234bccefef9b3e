# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The weights that a config names: read once before anything is built."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from mmengine.config import Config

from ..untrusted import FileRefusedError, printable, read_text
from .download import cached_file, check_hash, check_url
from .errors import CheckpointError
from .reader import read_checkpoint
from .resumed import check_resumable

# As the host's loaders spell them; a path with :// in it is none.
SCHEMES = (
    *("http", "https", "torchvision", "modelzoo", "open-mmlab", "openmmlab", "mmcls"),
    *("s3", "petrel", "pavi"),
)
POINTER_LIMIT = 64 << 10  # bytes: last_checkpoint holds one path


class Named(NamedTuple):
    """Weights that a config names.

    Attributes:
        place: Where, as ``--cfg-options`` spells it.
        checkpoint: Path or URL.
    """

    place: str
    checkpoint: str


def named_weights(cfg: Config) -> Iterator[Named]:
    """Yields what a config's modules start from: each Pretrained ``init_cfg``, ``pretrained``."""
    for name in cfg:
        yield from _named(cfg[name], name, in_model=name == "model")


def check_named_weights(cfg: Config, latest: str | Path | None = None) -> None:
    """Reads every file of weights that a run of ``cfg`` would load, before anything is built.

    A URL is judged by its form, and its file only where the cache has it already; the loader
    reads it once it is fetched.

    Args:
        cfg: Of the run.
        latest: The checkpoint that it goes on from where the config names none.

    Raises:
        CheckpointError: A file that is not used, a URL that nothing is fetched from; with where
            the config names it.
    """
    resumed = bool(cfg.get("resume"))
    start = cfg.get("load_from")
    if resumed and start is None:
        start = latest if latest is not None else noted_checkpoint(cfg.work_dir)
    if start is not None:
        check_checkpoint(start, resumed)
    # Otherwise the host never initializes.
    if cfg.get("train_cfg") and not resumed:
        for place, checkpoint in named_weights(cfg):
            try:
                check_checkpoint(checkpoint)
            except CheckpointError as error:
                raise CheckpointError(f"{place}: {error}") from None


def check_checkpoint(checkpoint: str | Path, resumed: bool = False) -> None:
    """Reads a checkpoint, or judges its URL, without running code that it may carry.

    Args:
        checkpoint: Path or URL.
        resumed: Training goes on from it, so that its state and optimizer count too.

    Raises:
        CheckpointError: It is missing, damaged, needs code to be read, holds weights that cannot
            be right, or is a URL that nothing is fetched from.
    """
    if not isinstance(checkpoint, (str, Path)):
        raise CheckpointError(
            f"{str(checkpoint)[:80]!a} is a {type(checkpoint).__name__} and names no checkpoint."
        )
    path = Path(checkpoint)
    if "://" in str(checkpoint):
        check_scheme(str(checkpoint))
        if not re.match("https?://", str(checkpoint)):
            return
        check_url(str(checkpoint))
        path = cached_file(str(checkpoint))
        if not path.exists():
            return
        check_hash(path, path.name)
    loaded = read_checkpoint(path, mmap=True)
    if resumed:
        try:
            check_resumable(loaded)
        except CheckpointError as error:
            raise CheckpointError(f"{printable(path)}: {error}") from None


def check_scheme(checkpoint: str) -> None:
    """Refuses a URL of a kind that no loader reads.

    Raises:
        CheckpointError: With the kinds that are read.
    """
    scheme = checkpoint.split("://")[0].rsplit(":", 1)[-1]
    if scheme not in SCHEMES:
        hint = "name the path itself" if scheme == "file" else f"read are {', '.join(SCHEMES)}"
        raise CheckpointError(
            f"{printable(checkpoint)}: weights are not read from {printable(scheme)}://; {hint}."
        )


def noted_checkpoint(folder: str | Path) -> str | None:
    """The checkpoint that the host would go on from: the path in ``last_checkpoint``, if any.

    Raises:
        CheckpointError: The file holds something else than one path.
    """
    pointer = Path(folder, "last_checkpoint")
    if not pointer.exists() and not pointer.is_symlink():
        return None
    try:
        name = read_text(pointer, POINTER_LIMIT).strip()
    except FileRefusedError as error:
        raise CheckpointError(f"{printable(pointer)} cannot be read: {error}.") from None
    if not name or not name.isprintable() or "://" in name:
        raise CheckpointError(
            f"{printable(pointer)} names no file but '{printable(name[:80])}': name the checkpoint "
            "to go on from (--resume FILE)."
        )
    return name


def _named(value: Any, place: str, in_model: bool) -> Iterator[Named]:
    if isinstance(value, dict):
        kind = value.get("type")
        kind = kind if isinstance(kind, str) else getattr(kind, "__name__", "")
        if kind.split(".")[-1] in ("Pretrained", "PretrainedInit") and value.get("checkpoint"):
            yield Named(f"{place}.checkpoint", value["checkpoint"])
        pretrained = value.get("pretrained")
        if in_model and isinstance(pretrained, str) and pretrained:
            yield Named(f"{place}.pretrained", pretrained)
        for key, item in value.items():
            yield from _named(item, f"{place}.{key}", in_model)
    elif isinstance(value, (list, tuple)):
        for number, item in enumerate(value):
            yield from _named(item, f"{place}.{number}", in_model)
