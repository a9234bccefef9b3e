# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run's teacher by a config: what ``xmoco pretrain --teacher`` does, without questions."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS

from ..checkpoint import CheckpointError
from ..data import UnreadableImageError
from .asking import asker, reading, teacher_pipeline
from .errors import TeacherError
from .lesson import FEATURES, FILE, read_lesson
from .preparing import prepare_lesson
from .sources import Source, open_file
from .stored import FULL_DEPTH, Belongs, data_digest
from .zoo import looks_like_a_file, network_of, offer_of

NO_PICTURES = {  # readers of training sets that no teacher is shown, and what they give
    "LoadTileOrSkip": "tiles of large pictures",
    "LoadChannelsOrSkip": "images of any number of channels",
}
WORKERS = 4  # processes that read images for the teacher, at most (ours)


def open_teacher(teacher: str, network: str | None = None, fetch: bool = False) -> Source:
    """A teacher by its file or name.

    Args:
        teacher: A checkpoint's path, or a name of mmpretrain or timm.
        network: Name of the network in the file, where that does not say.
        fetch: Whether a named teacher's weights may be fetched, under their licence.

    Raises:
        CheckpointError, TeacherError: It cannot be used, or is not there and may not be fetched.
    """
    if looks_like_a_file(teacher):
        if network is None:
            return open_file(teacher)
        settings, usual = network_of(network)
        return open_file(teacher, settings, usual=usual)
    offer = offer_of(teacher)
    if not (fetch or offer.place.is_file()):
        raise TeacherError(
            f"{offer.describe()} It is not at {offer.place}: put it there, or allow it to be "
            "fetched with fetch=True"
        )
    return offer.open()


def lesson_of_config(
    folder: Path,
    teacher: str,
    size: int,
    dims: int,
    dataset: Mapping[str, Any],
    device: Any,
    own_crop: bool = False,
    network: str | None = None,
    fetch: bool = False,
    workers: int = 0,
    say: Callable[[str], None] = lambda text: None,
) -> None:
    """Make sure that the folder of a run has what it learns from its teacher by.

    Args:
        folder: Of the run; what is there already is kept, if it belongs.
        teacher, network, fetch: See :func:`open_teacher`.
        size: Side of the images that the teacher sees, in pixels.
        dims: Of the keys.
        dataset: Config of the training set, whose pipeline is replaced.
        device: Of the teacher.
        own_crop: Whether the teacher is asked again in each step.
        workers: Processes that read images.
        say: Gets lines of progress.

    Raises:
        CheckpointError, TeacherError: The teacher cannot be used, or what is there is of another
            teacher or set.
    """
    source = open_teacher(teacher, network, fetch)
    for note in source.notes():
        say(f"teacher: {note}")
    settings = copy.deepcopy(dict(dataset))
    if "pipeline" not in settings:
        raise TeacherError(
            f"the training set is a {settings.get('type')} without a pipeline of its own, and the "
            "teacher sees each image whole: use xmoco pretrain --teacher, or a plain data set"
        )
    for step in settings["pipeline"]:
        if kind := NO_PICTURES.get(str(step.get("type")).split(".")[-1]):
            raise TeacherError(
                f"the training set is read by {step['type']}: {kind}, and a teacher is shown whole "
                "pictures. Train without one, or on pictures"
            )
    bits = reading(settings["pipeline"]).get("bit_depth", FULL_DEPTH)
    settings["pipeline"] = teacher_pipeline(size, settings["pipeline"])
    images: Any = DATASETS.build(settings)
    asked = source.frozen(size).to(device)
    belongs = Belongs(
        images=len(images),
        width=asked.width(),
        teacher=source.digest,
        name=source.name,
        size=size,
        data=data_digest(_known_by(images), bits),
    )
    if (folder / FILE).is_file():
        _check_kept(folder, belongs, own_crop)
        return
    tenth = [-1]

    def progress(done: int, total: int) -> None:
        if 10 * done // total > tenth[0]:
            tenth[0] = 10 * done // total
            say(f"teacher: asked for {done:,} of {total:,} images")

    # Nobody has looked at these images before: the training passes over those that it cannot read.
    ask = asker(asked, images, min(workers, WORKERS), device, say, UnreadableImageError)
    as_listed = getattr(images, "begins_with_sample", False)
    prepare_lesson(
        *(folder, source, ask, belongs, own_crop, dims), progress=progress, as_listed=as_listed
    )


def _check_kept(folder: Path, belongs: Belongs, own_crop: bool) -> None:
    """Raise TeacherError unless what a folder has serves a run."""
    file, features = folder / FILE, folder / FEATURES
    try:
        there = read_lesson(file)
    except (CheckpointError, TeacherError) as error:
        raise TeacherError(f"{error}. Remove it to have it made anew") from None
    # By whatever name: a file that was moved is the same teacher.
    if there.belongs._replace(name=belongs.name) != belongs:
        was = there.belongs
        raise TeacherError(
            f"{file} is of {was.name} at {was.size} px and {was.images:,} images; "
            f"this run has {belongs.name} at {belongs.size} px and {belongs.images:,}, or other "
            f"images, or its network is given other values. Remove it and {FEATURES}, or name "
            "another --work-dir"
        )
    if own_crop and there.network is None:
        raise TeacherError(
            f"{file} is of a run with stored features and holds no teacher to ask in each step: "
            "remove it to have it made anew"
        )
    if not (own_crop or features.is_file()):
        raise TeacherError(
            f"{features} is not there, which belongs to {file}. Put it back, or remove {FILE} to "
            "have both made anew"
        )


def _known_by(images: Any) -> Iterator[str]:
    """What tells a set from others, without reading all of a set that has a digest."""
    if digest := getattr(images, "digest", None):
        yield digest
        return
    for place in range(len(images)):
        info = images.get_data_info(place)
        pixels = info.get("img")
        if isinstance(pixels, np.ndarray):  # of a set in memory, which has no names
            yield hashlib.blake2b(pixels.tobytes(), digest_size=16).hexdigest()
        else:
            yield str(info.get("img_path", place))
