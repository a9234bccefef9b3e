# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is said to who has few images."""

FEW = 500
SMALL = 50_000  # images, below which good weights are recommended to begin with (ours)


def better_start(images: int) -> str | None:
    """What good weights would give, for a run that has none; None where the images are many."""
    if images >= SMALL:
        return None
    return (
        f"no --init: the network begins with random weights, and {images:,} images teach it little "
        "of what good weights know. On small photographs of 10 kinds ImageNet's weights had a kNN "
        "of 65 % before any training, random ones 28 % (docs/lab/starts.md). --init FILE begins "
        "with such weights, and where there are --labels to tell, never hands over worse ones."
    )


def outlook(images: int) -> str | None:
    """What so few images can give, in a sentence; None where they are many."""
    if images >= FEW:
        return None
    return (
        f"{images:,} images are few: the network learns their colours and textures, hardly shapes. "
        "Expect at most a slightly better start than random weights, and compare with ImageNet "
        "weights (docs/lab/results.md has measurements). Unlabelled images of the same kind, even "
        "thousands of poor ones, help more than any setting."
    )
