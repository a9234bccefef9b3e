# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which channels of an image of many a teacher is shown: as red, green and blue, or as grey.

They are counted from 1, as in all that the project says of channels. What is made of a scene's
numbers is seldom as bright as a photograph (16 bits that a cloud fills leave the ground dark), and
dark images say little to a network of photographs: each channel is brought to the mean and the
deviation of ordinary pictures by its own.
"""

import re
from collections.abc import Sequence

import numpy as np

from .errors import TeacherError
from .network import LUMA, MEAN, PICTURE, STD, first_channels
from .sources import Source

COLOURS = (3, 4)  # channels of images of which the first three are taken for red, green and blue
OPTION = "--teacher-channels"


def check_channels(named: Sequence[int], number: int, option: str = OPTION) -> None:
    """Raise TeacherError unless images of so many channels have those that are named, once each."""
    numbers = isinstance(named, list | tuple) and {*map(type, named)} == {int}
    if not numbers:
        raise TeacherError(f"{option} {named!r}: whole numbers counted from 1, as in (3, 2, 1)")
    said = f"{option} {as_text(named)}"
    if outside := [channel for channel in named if not 1 <= channel <= number]:
        raise TeacherError(
            f"{said}: there is no channel {outside[0]}; these images have {number}, counted from 1"
        )
    if len({*named}) < len(named):
        raise TeacherError(f"{said}: a channel is named twice; one number alone is shown as grey")


def channels_shown(
    named: Sequence[int] | None, number: int, takes: int, option: str = OPTION
) -> tuple[int, ...]:
    """The channels that a teacher is shown.

    Args:
        named: By the user; without, all of them where it takes as many, and as red, green and blue
            the first three of 3 and of 4.
        number: Of the images' channels.
        takes: Channels that the teacher takes.
        option: That names them, for messages.

    Raises:
        TeacherError: Others than the images have, one of them twice, too many or too few; or none
            are named, and nobody knows which of them are colours.
    """
    of_pictures = takes in PICTURE
    if named is None:
        if of_pictures and number in COLOURS:
            return (1, 2, 3)
        if number == takes or (of_pictures and number == 1):
            return tuple(range(1, number + 1))
        raise TeacherError(f"{option}: {_unknown(number, takes)}")
    check_channels(named, number, option)
    if len(named) not in ((1, 3) if of_pictures else (takes,)):
        how = "three as red, green and blue, or one as grey" if of_pictures else f"{takes}"
        raise TeacherError(
            f"{option} {as_text(named)}: the teacher is shown {how}, and {len(named)} are named"
        )
    return tuple(named)


def _unknown(number: int, takes: int) -> str:
    """Why channels must be named, and how."""
    if takes not in PICTURE:
        way = f"name {takes} of them, in its order and counted from 1"
        if number < takes:
            way = "take another teacher"
        return f"the teacher takes images of {takes} channels, and these have {number}: {way}"
    if number == 2:
        return (
            "these images have 2 channels, and a teacher sees three colours or grey: name the one "
            "that it sees as grey, 1 or 2"
        )
    return (
        f"these images have {number} channels, and nobody knows which of them are red, green and "
        "blue: name those three, in this order and counted from 1, as in 4,3,2; or one, which the "
        "teacher sees as grey"
    )


def in_order(shown: Sequence[int]) -> tuple[int, ...]:
    """Channels of :class:`FrozenTeacher`'s pixels: one that is shown as grey stands three times."""
    return tuple(shown) * (3 if len(shown) == 1 else 1)


def describe_channels(shown: Sequence[int], number: int, takes: int) -> str:
    """What a teacher sees, in words."""
    said = f"{', '.join(map(str, shown))} of {number}"
    if len(shown) == 1:
        return f"channel {said} as grey"
    if takes == 1:
        return f"grey, made of channels {said}"
    return f"channels {said}" + (" as red, green and blue" if takes == 3 else "")


def as_text(channels: Sequence[int]) -> str:
    """As an option and a file have them: '3,2,1'."""
    return ",".join(map(str, channels))


def from_text(text: str) -> tuple[int, ...]:
    """The channels that a file, which anybody may have written, names.

    Raises:
        ValueError: It names none.
    """
    if not re.fullmatch(r"[1-9]\d{0,3}(,[1-9]\d{0,3}){0,511}", text):
        raise ValueError(text[:80])
    return tuple(map(int, text.split(",")))


def for_channels(
    source: Source,
    shown: Sequence[int],
    mean: Sequence[float],
    std: Sequence[float],
    value_range: Sequence[float],
) -> Source:
    """A teacher whose mean and deviation are such that channels are to it as pictures are.

    One that was trained on images of many channels sees them normalized, as it saw those: by its
    own numbers, where the same values became 0 and 255, else by the set's.

    Args:
        source: As its file has it; not changed.
        shown: The channels, see :func:`channels_shown`.
        mean, std: Of all channels of the set, in 0..255.
        value_range: What becomes 0 and 255.
    """
    takes = first_channels(source.backbone)
    if source.value_range is not None and (*source.value_range,) == (*value_range,):
        return source
    places = [channel - 1 for channel in in_order(shown)]
    middle, spread = np.array(mean)[places], np.array(std)[places]
    usual, width = np.array(MEAN), np.array(STD)
    if takes == 1:
        middle, spread, usual, width = (
            np.array(LUMA) @ values[:, None] for values in (middle, spread, usual, width)
        )
    elif takes == 3 and source.bgr:
        middle, spread, usual, width = (v[::-1] for v in (middle, spread, usual, width))
    if source.value_range is None and takes in PICTURE:
        own_mean, own_std = (np.array(values, float) for values in (source.mean, source.std))
        if takes == 1:
            own_mean, own_std = own_mean.mean(keepdims=True), own_std.mean(keepdims=True)
        if len(own_mean) not in (1, takes) or len(own_std) not in (1, takes):
            return source  # which is refused
        # ((x - middle) / spread * width + usual - own_mean) / own_std, in one step
        middle = middle - (usual - own_mean) * spread / width
        spread = own_std * spread / width
    return source._replace(mean=tuple(middle.tolist()), std=tuple(spread.tolist()))
