# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every checkpoint that the host loads is read by our reader, never by one that runs code."""

import contextlib
import difflib
import os
import tempfile
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine import fileio
from mmengine.runner import CheckpointLoader
from mmengine.runner import checkpoint as host

from .untrusted import printable
from .weights import (
    CheckpointError,
    allow_checkpoint_classes,
    check_scheme,
    fetch,
    read_checkpoint,
    without_orders,
)

OFF = "TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD"
ON = "TORCH_FORCE_WEIGHTS_ONLY_LOAD"
YES = ("1", "y", "yes", "true")  # as torch reads both


def read_for_the_host() -> None:
    """Put our reader behind each scheme of mmengine's ``CheckpointLoader``. May be called twice.

    ``load_from``, ``resume``, each Pretrained ``init_cfg`` and ``pretrained``, in mmengine,
    mmpretrain, mmdet and mmseg, all go through it. The host's own loaders call ``torch.load`` with
    its default, or a second time without ``weights_only`` where the first was refused.
    """
    allow_checkpoint_classes()
    _take_out_the_switch()
    for prefixes, loader in (
        ("", load_from_local),
        (("http://", "https://"), load_from_http),
        ("pavi://", load_from_pavi),
        ([r"(\S+\:)?s3://", r"(\S+\:)?petrel://"], load_from_ceph),
        (("modelzoo://", "torchvision://"), load_from_torchvision),
        (("open-mmlab://", "openmmlab://"), load_from_openmmlab),
        ("mmcls://", load_from_mmcls),
    ):
        CheckpointLoader.register_scheme(prefixes, loader, force=True)


@contextlib.contextmanager
def weights_only_everywhere() -> Iterator[None]:
    """Lets torch itself refuse code in every file, here and in processes that are started within.

    For the tools: also what a host reads past its ``CheckpointLoader``. Who sets torch's variable
    to 0 keeps it so.
    """
    before = os.environ.get(ON)
    os.environ.setdefault(ON, "1")
    try:
        yield
    finally:
        if before is None:
            os.environ.pop(ON, None)


# The host prints their names from the eleventh letter on, and calls them with two arguments.
def load_from_local(filename: str, map_location: Any = None) -> dict:
    """Read a file of this machine."""
    if "://" in str(filename):
        check_scheme(str(filename))
    return _read(Path(filename).expanduser(), map_location)


def load_from_http(filename: str, map_location: Any = None) -> dict:
    """Read the file of a URL."""
    return _read(fetch(filename), map_location)


def load_from_torchvision(filename: str, map_location: Any = None) -> dict:
    """Read torchvision's weights of a model, by the name of a model there."""
    return load_from_http(_known(filename, host.get_torchvision_models()), map_location)


def load_from_openmmlab(filename: str, map_location: Any = None) -> dict:
    """Read a model of mmengine's list, or of the user's, which may name files."""
    names = host.get_external_models()
    renamed = host.get_deprecated_model_names()
    name = filename.split("://", 1)[1]
    target = _known(f"openmmlab://{renamed.get(name, name)}", names)
    if target.startswith(("http://", "https://")):
        return load_from_http(target, map_location)
    return load_from_local(os.path.join(host._get_mmengine_home(), target), map_location)


def load_from_mmcls(filename: str, map_location: Any = None) -> dict:
    """Read the backbone of a model of mmcls."""
    loaded = load_from_http(_known(filename, host.get_mmcls_models()), map_location)
    return host._process_mmcls_checkpoint(loaded)


def load_from_ceph(filename: str, map_location: Any = None) -> dict:
    """Read an object of a store that mmengine's petrel backend reaches."""
    with _temporary() as path:
        path.write_bytes(fileio.get(filename, backend_args={"backend": "petrel"}))
        return _read(path, map_location)


def load_from_pavi(filename: str, map_location: Any = None) -> dict:
    """Read a model of pavi's cloud."""
    try:
        from pavi import modelcloud  # type: ignore[import-not-found]
    except ImportError:
        raise CheckpointError(
            f"{printable(filename)} needs the package pavi: install it, or name a file."
        ) from None
    model = modelcloud.get(filename.split("://", 1)[1])
    with _temporary() as path:
        model.download(str(path))
        return _read(path, map_location)


def _read(path: Path, map_location: Any) -> dict:
    return without_orders(read_checkpoint(path, map_location or "cpu"), path.parent)


@contextlib.contextmanager
def _temporary() -> Iterator[Path]:
    with tempfile.TemporaryDirectory() as folder:
        yield Path(folder, "fetched.pth")


def _known(filename: str, urls: Mapping[str, str]) -> str:
    """Looks up the URL of scheme://NAME."""
    scheme, name = filename.split("://", 1)
    if name not in urls:
        near = difflib.get_close_matches(name, list(urls), n=3)
        hint = f" (did you mean {' or '.join(near)}?)" if near else ""
        raise CheckpointError(f"{scheme}:// has no model '{printable(name)}'{hint}.")
    return urls[name]


def _take_out_the_switch() -> None:
    # Set by users of hosts that cannot resume on torch 2.6 and later; here, they can.
    if os.environ.get(OFF, "").lower() in YES:
        del os.environ[OFF]
        warnings.warn(
            f"{OFF} was set: with it, torch.load runs the code that any file holds. xmoco_plugin "
            "has taken it out of this process; checkpoints of mmengine are read without it. For a "
            "file of your own that needs code, call torch.load(..., weights_only=False).",
            stacklevel=2,
        )
