# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A way in which a tool takes a file: the tool, the option, what the file pretends to be."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from . import kinds
from .scene import Scene

Words = list[Any]


class Way(NamedTuple):
    """How a file comes in.

    Attributes:
        tool: Of tools/.
        option: As the user writes it.
        kinds: Hostile files for it, by name.
        words: From the scene and the place of the hostile file to the command line.
        place: Of the hostile file in the scene.
        refuses: Whether the file ends the command (status 2); else it is left out and named.
        needs: Library without which there is no such way.
    """

    tool: str
    option: str
    kinds: dict[str, kinds.Kind]
    words: Callable[[Scene, Path], Words]
    place: str
    refuses: bool = True
    needs: str = ""


def silent(found: dict[str, kinds.Kind]) -> dict[str, kinds.Kind]:
    """The same files, of which a tool need not say anything."""
    return {name: kind._replace(says="") for name, kind in found.items()}


SMALL = ["--image-size", 32, "--workers", 0, "--batch-size", 4]
RUN = [
    "--model",
    "MobileNetV3:small_050",
    "--image-size",
    32,
    "--batch-size",
    4,
    "--epochs",
    1,
    "--workers",
    0,
]


def embed(scene: Scene, file: Path) -> Words:
    return [file, scene.images, "--out", scene.here / "x.npz", *SMALL]


def select(scene: Scene, file: Path, *words: Any) -> Words:
    """select_images.py with the file as weights."""
    return [file, scene.images, "-n", 1, "--out", scene.here / "x.csv", *words, *SMALL]


def evaluate(scene: Scene, file: Path) -> Words:
    return [file, "--data", scene.labelled, "--protocol", "knn", "--k", 1, "--jobs", 1, *SMALL]


def export(target: str) -> Callable[[Scene, Path], Words]:
    ending = "safetensors" if target == "safetensors" else "pth"
    return lambda scene, file: [file, scene.here / f"out.{ending}", "--to", target]


def setting(text: str) -> Callable[[Scene, Path], Words]:
    """train.py with a setting that names the file."""
    return lambda scene, file: [scene.config, "--cfg-options", text.format(file=file)]


def fine(task: str, *words: Any) -> Callable[[Scene, Path], Words]:
    def command(scene: Scene, file: Path) -> Words:
        config = scene.fine_tuning(task)
        checkpoint = words[0] if words else file
        rest = [word(scene, file) if callable(word) else word for word in words[1:]]
        return [checkpoint, task, config, "--data-root", scene.shapes, "--max-iters", 2, *rest]

    return command
