# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run's teacher by a config: what ``xmoco pretrain --teacher`` does, without questions."""

import copy
import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmpretrain.registry import DATASETS, TRANSFORMS

from ..checkpoint import CheckpointError
from ..data import ChannelReading, UnreadableImageError
from ..untrusted import printable
from .asking import asker, channel_step, reading, teacher_pipeline
from .channels import as_text, channels_shown, for_channels, from_text
from .errors import TeacherError
from .lesson import FEATURES, FILE, Lesson, read_lesson
from .network import first_channels
from .preparing import prepare_lesson
from .sources import Source, open_file
from .stored import FULL_DEPTH, Belongs, data_digest
from .zoo import looks_like_a_file, network_of, offer_of

OPTION = "TeacherHook's channels"  # for messages
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
    channels: Sequence[int] | None = None,
    preprocessor: Any = None,
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
        channels: That it is shown of images of many, see :func:`channels_shown`.
        preprocessor: The student's, with the mean and deviation of such images' channels.
        workers: Processes that read images.
        say: Gets lines of progress.

    What is there serves a run that goes on where the teacher's own file is not, which is said.

    Raises:
        CheckpointError, TeacherError: The teacher cannot be used, or what is there is of another
            teacher or set.
    """
    kept = (folder / FILE).is_file()
    source = None if kept and not _is_there(teacher) else open_teacher(teacher, network, fetch)
    for note in source.notes() if source is not None else ():
        say(f"teacher: {note}")
    settings = copy.deepcopy(dict(dataset))
    if "pipeline" not in settings:
        raise TeacherError(
            f"the training set is a {settings.get('type')} without a pipeline of its own, and the "
            "teacher sees each image whole: use xmoco pretrain --teacher, or a plain data set"
        )
    trained = settings["pipeline"]
    for step in trained:
        if str(step.get("type")).endswith("LoadTileOrSkip") or step.get("side"):
            raise TeacherError(
                f"the training set is read by {step['type']}: tiles of large pictures, and a "
                "teacher is shown whole images. Train without one, or on whole images"
            )
    many = _channel_reading(trained)
    if channels is not None and many is None:
        raise TeacherError(
            "TeacherHook's channels are of images that LoadChannelsOrSkip reads, and the training "
            "set is read as pictures, whose colours a teacher knows: leave them out"
        )
    shown: tuple[int, ...] = ()
    numbers: list[float] = []
    if many is not None:
        mean, std = _normalization(preprocessor, many.channels)
        numbers = [*many.value_range, *many.fill, *mean, *std]
        if source is not None:
            takes = first_channels(source.backbone)
            shown = channels_shown(channels, many.channels, takes, OPTION)
            source = for_channels(source, shown, mean, std, many.value_range)
        else:  # those that are named, or those of before
            before = _read_kept(folder).belongs.channels
            shown = tuple(channels or (from_text(before) if before else ()))
    bits = reading(trained).get("bit_depth", FULL_DEPTH)
    settings["pipeline"] = teacher_pipeline(size, trained, shown)
    images: Any = DATASETS.build(settings)
    of_set: dict[str, Any] = dict(
        images=len(images),
        size=size,
        data=data_digest(_known_by(images), bits, numbers),
        channels=as_text(shown),
    )
    if source is None:
        there = _read_kept(folder).belongs
        say(
            f"teacher: {printable(teacher)} is not there; the run goes on with what it has stored "
            f"of {printable(there.name)}"
        )
        _check_kept(folder, there._replace(**of_set), own_crop)
        return
    asked = source.frozen(size, many is None).to(device)
    belongs = Belongs(width=asked.width(), teacher=source.digest, name=source.name, **of_set)
    if kept:
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


def _is_there(teacher: str) -> bool:
    """Whether a teacher's weights are on this machine."""
    if looks_like_a_file(teacher):
        return Path(teacher).expanduser().exists()
    return offer_of(teacher).place.is_file()


def _read_kept(folder: Path) -> Lesson:
    try:
        return read_lesson(folder / FILE)
    except (CheckpointError, TeacherError) as error:
        raise TeacherError(f"{error}. Remove it to have it made anew") from None


def _check_kept(folder: Path, belongs: Belongs, own_crop: bool) -> None:
    """Raise TeacherError unless what a folder has serves a run."""
    file, features = folder / FILE, folder / FEATURES
    there = _read_kept(folder)
    # By whatever name: a file that was moved is the same teacher.
    if there.belongs._replace(name=belongs.name) != belongs:
        was = there.belongs
        raise TeacherError(
            f"{file} is of {was.name} at {was.size} px and {was.images:,} images; "
            f"this run has {belongs.name} at {belongs.size} px and {belongs.images:,}, or other "
            f"images or channels{_of_channels(was, belongs)}, or its network is given other "
            f"values. Remove it and {FEATURES}, or name another --work-dir"
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


def _of_channels(was: Belongs, now: Belongs) -> str:
    if was.channels == now.channels:
        return ""
    return f" ({was.channels or 'of pictures'} there, {now.channels or 'of pictures'} here)"


def _channel_reading(trained: Sequence[Mapping[str, Any]]) -> ChannelReading | None:
    """How a training pipeline reads images of many channels; None where it reads pictures."""
    step = channel_step(trained)
    return None if step is None else TRANSFORMS.build(dict(step)).channels


def _normalization(preprocessor: Any, number: int) -> tuple[list[float], list[float]]:
    """Mean and deviation of each channel, by the student's preprocessor."""
    found = [getattr(preprocessor, name, None) for name in ("mean", "std")]
    mean, std = ([] if values is None else values.flatten().tolist() for values in found)
    if not len(mean) == len(std) == number:
        raise TeacherError(
            f"the model's data_preprocessor has a mean of {len(mean)} numbers, and the images have "
            f"{number} channels: ChannelsDataPreprocessor takes the mean and std of each"
        )
    return mean, std


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
