# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is said of a teacher beside images of many channels."""

from collections.abc import Iterator, Sequence
from typing import Any

from xmoco_plugin import pretraining as own
from xmoco_plugin import teachers
from xmoco_plugin.teachers.channels import COLOURS, from_text

DARK = 32  # of 255: the mean of channels that are dark to a teacher of ordinary pictures (ours)


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


def about_channels(
    plan: own.ChannelPlan, shown: Sequence[int], source: teachers.Source, named: str | None
) -> Iterator[str]:
    """What a user may want to change, in lines.

    Args:
        plan: How the channels are read.
        shown: To the teacher.
        source: The teacher.
        named: What --teacher-channels says, if anything.
    """
    number = plan.reading.channels
    low, high = plan.reading.value_range
    if named is None and number in COLOURS and len(shown) == 3:
        yield (
            f"the first three of {number} channels are taken for red, green and blue; "
            "--teacher-channels R,G,B names others, as 3,2,1 where blue is the first"
        )
    if source.value_range is not None and tuple(source.value_range) != (low, high):
        was = "{:g} to {:g}".format(*source.value_range)
        yield (
            f"the teacher was trained on values of {was} as 0 to 255, and sees {low:g} to {high:g} "
            "so; --bit-depth sets the bits of whole numbers"
        )
    means = [plan.reading.fill[channel - 1] for channel in shown]
    if max(means) < DARK:
        said = ", ".join(f"{mean:.0f}" for mean in means)
        yield (
            f"what the teacher sees is dark (means of {said} of 255): --bit-depth with fewer bits "
            "brightens whole numbers, and cuts what lies above"
        )
