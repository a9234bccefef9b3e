# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images a step of all processes together, whatever their number."""

from pathlib import Path

from mmengine.config import Config
from mmengine.dist import all_gather_object, broadcast_object_list

from xmoco_plugin.hooks import OthersUnlikeError


def share_batch(cfg: Config, images: int, processes: int) -> None:
    """Gives each process its share of the images of a step.

    Args:
        cfg: Changed in place.
        images: Of a step of all processes.
        processes: That train together.

    Raises:
        ValueError: The images cannot be shared equally, or the loader does not say how many.
    """
    loader = cfg.get("train_dataloader") or {}
    if "batch_size" not in loader:
        raise ValueError(
            "--global-batch sets train_dataloader.batch_size, which this config has not: set the "
            "batch where its loader makes them, and leave --global-batch out."
        )
    if images % processes:
        more = -(-images // processes) * processes
        counts = [str(n) for n in range(1, min(images, 1024) + 1) if images % n == 0]
        raise ValueError(
            f"--global-batch {images}: {processes:,} processes cannot share it equally. Start "
            f"{_one_of(counts)} processes, or take another number of images, such as {more}."
        )
    loader["batch_size"] = images // processes


def first_ones(latest: Path | None) -> Path | None:
    """The checkpoint that the first process has found, on all: theirs may see an older one yet.

    Raises:
        ValueError: It is not on this machine.
        OthersUnlikeError: It is not on another one. Here too: nobody waits for those that leave.
    """
    found = [None if latest is None else str(latest.absolute())]
    broadcast_object_list(found)
    if found[0] is None:
        return None
    path = Path(found[0])
    there = path.is_file()
    everywhere = all(all_gather_object(there))
    if not there:
        raise ValueError(
            f"{path}, from which the first process goes on, is not on this machine: machines that "
            "come and go need a --work-dir on a disk that all of them see, under one name."
        )
    if not everywhere:
        raise OthersUnlikeError(
            f"{path}, from which all go on, is not on every machine: whoever lacks it leaves."
        )
    return path


def _one_of(counts: list[str]) -> str:
    shown = counts if len(counts) < 9 else [*counts[:7], "...", counts[-1]]
    return ", ".join(shown[:-1]) + f" or {shown[-1]}" if len(shown) > 1 else shown[0]
