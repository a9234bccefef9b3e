# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which channels of an image of many a teacher is shown: as red, green and blue, or as grey.

They are counted from 1, as in all that the project says of channels.
"""

import re
from collections.abc import Sequence

from .errors import TeacherError
from .network import PICTURE

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
