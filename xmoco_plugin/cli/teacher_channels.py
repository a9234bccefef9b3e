# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is said of a teacher beside images of many channels."""

from collections.abc import Iterator, Sequence
from typing import Any

from xmoco_plugin import pretraining as own
from xmoco_plugin import teachers
from xmoco_plugin.teachers.channels import COLOURS, from_text
from xmoco_plugin.teachers.network import PICTURE


def named_channels(given: dict[str, Any], found: own.Scan) -> tuple[int, ...] | None:
    """The channels of --teacher-channels, which the images have; None where it is not given.

    Raises:
        PretrainError: The images are pictures.
        TeacherError: They have no such channel.
    """
    text = given.get("teacher_channels")
    if text is None:
        return None
    if found.channels is None:
        raise own.PretrainError(
            f"--teacher-channels {text}: these images are read as pictures, whose colours a "
            "teacher knows. Leave it out, or have TIFFs read as channels: --channels N"
        )
    named = from_text(text)
    teachers.check_channels(named, found.channels.number)
    return named


def seen_by(
    source: teachers.Source, shown: Sequence[int], plan: own.ChannelPlan
) -> teachers.Source:
    """The teacher, to which channels are as pictures; see :func:`teachers.for_channels`."""
    reading = plan.reading
    return teachers.for_channels(source, shown, reading.fill, plan.std, reading.value_range)


def numbers_of(plan: own.ChannelPlan | None) -> tuple[float, ...]:
    """By which values of channels are read and normalized; none of pictures."""
    return (*plan.reading.value_range, *plan.reading.fill, *plan.std) if plan else ()


def about_channels(
    plan: own.ChannelPlan, shown: Sequence[int], named: str | None, source: teachers.Source
) -> Iterator[str]:
    """What else is said of them, in lines.

    Args:
        plan: How the channels are read.
        shown: To the teacher.
        named: What --teacher-channels says, if anything.
        source: The teacher, of :func:`seen_by`.
    """
    values = plan.reading.value_range
    if source.value_range is None and teachers.first_channels(source.backbone) in PICTURE:
        yield (
            "the teacher sees each of them at the mean and the deviation of ordinary pictures: "
            "scenes are seldom as bright"
        )
    elif source.value_range != values:
        yield (
            "the teacher sees each of them normalized by its mean and deviation in these images"
            + (
                ""
                if source.value_range is None
                else ": it was trained on values from {:g} to {:g}".format(*source.value_range)
                + ", and these are read from {:g} to {:g}".format(*values)
            )
        )
    number = plan.reading.channels
    if named is None and number in COLOURS and len(shown) == 3:
        yield (
            f"the first three of {number} channels are taken for red, green and blue; "
            "--teacher-channels R,G,B names others, as 3,2,1 where blue is the first"
        )
