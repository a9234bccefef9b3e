# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Hostile arrays, packs and configs of runs."""

import io
import json
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np

from . import good
from .kinds import JSON, NO_FILE, Code, Kind


def _objects(path: Path, mark: Path, names=("images", "labels")) -> None:
    """Arrays of objects, which are pickles."""
    with zipfile.ZipFile(path, "w") as archive:
        for name in names:
            file = io.BytesIO()
            np.save(file, np.array([Code(mark)], dtype=object), allow_pickle=True)
            archive.writestr(f"{name}.npy", file.getvalue())


def _claims(path: Path, mark: Path, name="images") -> None:
    """An array whose head claims a terabyte."""
    head = b"{'descr': '|u1', 'fortran_order': False, 'shape': (333333333, 32, 32, 3), }"
    head += b" " * (64 - (10 + len(head) + 1) % 64) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{name}.npy", b"\x93NUMPY\x01\x00" + len(head).to_bytes(2, "little") + head
        )
        archive.writestr("labels.npy", b"")


NPZ = {
    **{k: v for k, v in NO_FILE.items() if k != "a folder"},
    "pickled objects": Kind(_objects, "pickle|object|allow_pickle"),
    "a terabyte claimed": Kind(_claims, "train.npz"),
}


def _step(**change) -> Callable[[Path, Path], object]:
    """A step of a training as it is kept, with other facts."""

    def make(path: Path, mark: Path) -> None:
        facts = dict(format=1, step=7, names=["a.png"], indices=[0], inputs=0, terms=["loss"])
        text = json.dumps(facts | dict(seed=0, checkpoint=None) | change)
        with open(path, "wb") as file:
            np.savez(file, facts=np.frombuffer(text.encode(), dtype=np.uint8))

    return make


STEP = {
    "pickled objects": Kind(partial(_objects, names=("facts", "input_0")), "pickle|object"),
    "a terabyte claimed": Kind(partial(_claims, name="facts"), "--replay"),
    "a list": Kind(lambda p, m: p.write_text("[]"), "--replay"),
    "a checkpoint elsewhere": Kind(_step(checkpoint="/etc/passwd"), "its facts are others"),
    "names that are numbers": Kind(_step(names=[1]), "its facts are others"),
    "a million inputs": Kind(_step(inputs=10**6), "its facts are others"),
    "an image of no set": Kind(_step(indices=[10**9]), "--replay"),
}


def _facts(**change) -> Callable[[Path, Path], object]:
    def make(path: Path, mark: Path) -> None:
        facts = json.loads((good.pack() / "pack.json").read_text())
        path.write_text(json.dumps(facts | change))

    return make


PACK = {
    **{k: v for k, v in JSON.items() if k not in ("a pickle",)},
    "another size": Kind(_facts(bytes=1 << 50), "pack"),
    "classes that are none": Kind(_facts(classes=7), "classes"),
    "a negative count": Kind(_facts(images_in_folder=-1), ""),
}
RUN_CONFIG = {
    "a program": Kind(
        lambda p, m: p.write_text(f"import os\nos.mkdir({str(m)!r})\nmodel = dict(type='XMoCo')\n"),
        "",
    ),
    "a function as a type": Kind(
        lambda p, m: p.write_text(good.model_text(loss=f"dict(type='os.mkdir', path={str(m)!r})")),
        "",
    ),
    "an import": Kind(
        lambda p, m: (
            p.with_name("evil.py").write_text(f"import os\nos.mkdir({str(m)!r})\n"),
            p.write_text(good.model_text() + "custom_imports = dict(imports=['evil'])\n"),
        ),
        "",
    ),
    "a base elsewhere": Kind(
        lambda p, m: (
            p.parent.parent.joinpath("elsewhere.py").write_text(
                f"import os\nos.mkdir({str(m)!r})\n"
            ),
            p.write_text('_base_ = "../elsewhere.py"\n'),
        ),
        "",
    ),
    "a scope of its own": Kind(
        lambda p, m: (
            p.parent.joinpath("evilscope").mkdir(exist_ok=True),
            p.parent.joinpath("evilscope", "registry.py").write_text(
                f"import os\nos.mkdir({str(m)!r})\n"
            ),
            p.parent.joinpath("evilscope", "__init__.py").write_text(""),
            p.write_text(good.model_text(loss="dict(type='evilscope.Loss')")),
        ),
        "",
    ),
    "cut off": Kind(lambda p, m: p.write_text("model = dict("), ""),
    "nested 100,000 deep": Kind(lambda p, m: p.write_text("model = " + "[" * 100_000), ""),
    **{k: Kind(v.make, "") for k, v in NO_FILE.items()},
}
