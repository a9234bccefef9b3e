# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Files that a stranger could send, by what they pretend to be; code that is run leaves a mark."""

import io
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import torch
from PIL import Image

from . import good


class Code:
    """Unpickled without care, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self):
        return os.mkdir, (str(self.mark),)


class Kind(NamedTuple):
    """A hostile file.

    Attributes:
        make: Writes it in the place of ``path``; what it would run makes the folder ``mark``.
        says: What a tool must say of it, a regular expression; '' where it may do as it likes, as
            long as nothing is run.
    """

    make: Callable[[Path, Path], object]
    says: str


def _weights(change) -> Callable[[Path, Path], object]:
    def make(path: Path, mark: Path) -> None:
        state = good.weights()
        torch.save(
            {
                "state_dict": {
                    k: change(v) if v.is_floating_point() else v for k, v in state.items()
                },
                "meta": {"cfg": good.model_text()},
            },
            path,
        )

    return make


def _checkpoint(**parts) -> Callable[[Path, Path], object]:
    def make(path: Path, mark: Path) -> None:
        content = {"state_dict": good.weights(), "meta": {"cfg": good.model_text()}}
        torch.save(content | {k: v(mark) for k, v in parts.items()}, path)

    return make


def _function(mark: Path) -> dict:
    return {"cfg": good.model_text(loss=f"dict(type='os.mkdir', path={str(mark)!r})")}


def _huge(path: Path, mark: Path) -> None:
    """A tensor whose shape claims four terabytes, over one number."""
    state = good.weights() | {"backbone.conv1.weight": torch.zeros(1).expand(1 << 40)}
    torch.save({"state_dict": state, "meta": {"cfg": good.model_text()}}, path)


def _socket(path: Path, mark: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # a socket's path is short
    try:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path.name)
    finally:
        os.chdir(here)


def _sparse(path: Path, mark: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(60 << 30)


NO_FILE = {
    "a named pipe": Kind(
        lambda path, mark: os.mkfifo(path), "not a regular file|named pipe|a labelled set is"
    ),
    "a link to a device": Kind(
        lambda path, mark: path.symlink_to("/dev/zero"),
        "device|not a regular file|a labelled set is",
    ),
    "a link to itself": Kind(
        lambda path, mark: path.symlink_to(path.name),
        "link|here is no|not a regular|cannot be read|does not exist|a labelled set is",
    ),
    "a folder": Kind(lambda path, mark: path.mkdir(), "folder|not a regular file|holds no files"),
    "a socket": Kind(_socket, "socket|not a regular file|a labelled set is"),
}
WEIGHTS = {
    **NO_FILE,
    "a pickle with code": Kind(_checkpoint(extra=Code), r"mkdir.*nothing was loaded"),
    "a config that names a function": Kind(_checkpoint(meta=_function), ""),
    "NaN": Kind(_weights(lambda v: v * float("nan")), "not finite"),
    "infinities": Kind(_weights(lambda v: v + float("inf")), "not finite"),
    "int8": Kind(_weights(lambda v: (v * 100).to(torch.int8)), "int8"),
    "zeros": Kind(_weights(torch.zeros_like), "zero"),
    "four terabytes": Kind(_huge, "backbone.conv1.weight"),
    "whole numbers as keys": Kind(
        _checkpoint(state_dict=lambda _: {1: torch.ones(2)}), "a int and no text"
    ),
    "a text as weights": Kind(_checkpoint(state_dict=lambda _: "x"), "state_dict"),
    "an error page": Kind(lambda p, m: p.write_text("<html>404</html>\n"), "text file"),
    "random bytes": Kind(
        lambda p, m: p.write_bytes(bytes(range(128, 256)) * 9),
        "damaged|cut off|not written by torch.save",
    ),
}


def _png(side: int) -> bytes:
    """Few bytes that claim ``side`` squared pixels."""
    file = io.BytesIO()
    Image.new("1", (side, side)).save(file, "PNG")
    return file.getvalue()


IMAGE = {
    **NO_FILE,
    "PostScript": Kind(
        lambda p, m: p.write_text(
            "%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\nshowpage\n%%EOF\n"
        ),
        "PostScript",
    ),
    "60 GB": Kind(_sparse, "GB, the limit"),
    "400 million pixels": Kind(lambda p, m: p.write_bytes(_png(20_000)), "pixels"),
    "a dangling link": Kind(lambda p, m: p.symlink_to("elsewhere.png"), "link|here is no"),
    "a web page": Kind(lambda p, m: p.write_text("<html>404</html>\n"), "HTML"),
}


def _deep(path: Path, mark: Path) -> None:
    path.write_text("[" * 100_000)


def _pickle(path: Path, mark: Path) -> None:
    import pickle

    path.write_bytes(pickle.dumps(Code(mark)))


JSON = {
    **{k: v for k, v in NO_FILE.items() if k != "a folder"},
    "nested 100,000 deep": Kind(_deep, ""),
    "null": Kind(lambda p, m: p.write_text("null"), ""),
    "a list": Kind(lambda p, m: p.write_text("[]"), ""),
    "cut off": Kind(lambda p, m: p.write_text('{"images": ['), ""),
    "a number of 5,000 digits": Kind(
        lambda p, m: p.write_text('{"images": ' + "9" * 5000 + "}"), ""
    ),
    "a pickle": Kind(_pickle, ""),
}
PICKLE = {"a pickle": Kind(_pickle, "cifar|CIFAR|corrupted|md5|MD5|found")}
LIST = {
    **{k: v for k, v in NO_FILE.items() if k != "a folder"},
    "a name with a NUL": Kind(lambda p, m: p.write_bytes(b"a\0b.png\n"), r"\\x00|NUL|null"),
    "a named pipe in it": Kind(
        lambda p, m: (os.mkfifo(p.with_name("pipe.png")), p.write_text("pipe.png\n")),
        "named pipe|pipe.png",
    ),
}
