# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A teacher's features of all images of a set, in one memory-mapped file that is filled once.

The file: a head of 4,096 bytes, JSON and spaces, then (n, E) float16 in the order of the set. They
are computed in an order of their own, the same everywhere, in which the first are a fair sample; of
a set whose own order begins with one, in that: a set of shards is then read shard by shard.
"""

import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Literal, NamedTuple

import numpy as np
import torch

from ..checkpoint import write_atomic
from ..untrusted import FileRefusedError, open_regular, parse_json, printable
from .errors import TeacherError

FORMAT = "xmoco_plugin teacher features 1"
HEAD = 4096  # bytes
TYPE = np.dtype("<f2")
FULL_DEPTH = 16  # significant bits of 16-bit grey, where nothing else is said
Ask = Callable[[Sequence[Sequence[int]]], Iterator[torch.Tensor]]
RESERVE = 0.1  # of the file, that stays free on the disk beside it (ours)


class Belongs(NamedTuple):
    """What stored features are of.

    Attributes:
        images: n.
        width: E.
        teacher: Digest of the network, see :class:`Source`.
        name: Of the teacher, for messages.
        size: Side of the images that it saw, in pixels.
        data: Digest of the images, in the order of the set.
        channels: That it saw of images of many, as '3,2,1'; of pictures, none are named.
    """

    images: int
    width: int
    teacher: str
    name: str
    size: int
    data: str
    channels: str = ""

    @property
    def bytes(self) -> int:
        """Of the whole file."""
        return HEAD + self.images * self.width * TYPE.itemsize


def data_digest(
    lines: Iterable[str], bit_depth: int = FULL_DEPTH, channels: Sequence[float] = ()
) -> str:
    """Of a set, from what its images are known by, in their order, and how they are read.

    Args:
        lines: What they are known by.
        bit_depth: Of 16-bit grey.
        channels: Of images of many, the numbers by which their values are read and normalized.
    """
    found = hashlib.blake2b(digest_size=16)
    for line in lines:
        found.update(os.fsencode(line) + b"\n")
    if bit_depth != FULL_DEPTH:
        found.update(b"%d bits\n" % bit_depth)
    if channels:
        found.update(f"channels by {[*map(float, channels)]}\n".encode())
    return found.hexdigest()


def computing_order(images: int, as_listed: bool = False) -> Sequence[int]:
    """Places of a set in an order that is the same on every machine and looks drawn.

    Args:
        images: Of the set.
        as_listed: Whether the order of the set itself looks drawn, and is kept.
    """
    if as_listed:
        return range(images)
    key = lambda i: hashlib.blake2b(i.to_bytes(8, "big"), digest_size=8).digest()  # noqa: E731
    return sorted(range(images), key=key)


class StoredFeatures:
    """The file, opened for what it must belong to.

    Args:
        path: Of the file; it is made where there is none.
        belongs: What is asked of it.
        as_listed: See :func:`computing_order`.

    Attributes:
        done: How many images have their features, in :func:`computing_order`.

    Raises:
        TeacherError: It is no such file, or of other images, another teacher or size; or the disk
            is too small for it.
    """

    def __init__(self, path: Path, belongs: Belongs, as_listed: bool = False) -> None:
        self.path, self.belongs = Path(path), belongs
        self.done = 0
        self._order = computing_order(belongs.images, as_listed)
        if os.path.lexists(self.path):
            self.done = _check(self.path, belongs)
        else:
            _ask_disk(self.path.parent, belongs)
            write_atomic(belongs, self.path, save=self._begin)
        # One that is complete is only read, perhaps from where nothing may be written.
        mode: Literal["r", "r+"] = "r" if self.complete else "r+"
        shape = (belongs.images, belongs.width)
        self._rows = np.memmap(self.path, TYPE, mode, HEAD, shape, order="C")

    @property
    def complete(self) -> bool:
        """Whether every image has its features."""
        return self.done == self.belongs.images

    def fill(
        self,
        ask: Ask,
        batch: int = 64,
        upto: int | None = None,
        progress: Callable[[int, int], None] = lambda done, total: None,
        every: int = 16,
    ) -> None:
        """Have computed what is missing; killed, it goes on where it was.

        Args:
            ask: Batches of places of images -> their features (b, E), batch by batch.
            batch: Images at a time.
            upto: So many images are enough; default: all.
            progress: Called with how many are done, and of how many.
            every: Batches between two times that the file is known to be on the disk.

        Raises:
            TeacherError: Features that are not finite, or too large for half precision.
        """
        total = self.belongs.images if upto is None else min(upto, self.belongs.images)
        done = self.done
        progress(min(done, total), total)
        left = self._order[done:total]
        batches = [left[first : first + batch] for first in range(0, len(left), batch)]
        for number, (places, features) in enumerate(zip(batches, ask(batches), strict=True), 1):
            refuse_broken(features, places, self.belongs.width)
            self._rows[places] = features.cpu().numpy().astype(TYPE)
            done += len(places)
            if number % every == 0 or done == total:
                self._rows.flush()
                self._note(done)
            progress(done, total)

    def sample(self, images: int) -> torch.Tensor:
        """(m, E) float32 of the first images in the computing order, no more than are done."""
        places = self._order[: min(images, self.done)]
        return torch.from_numpy(self._rows[places].astype(np.float32))

    def project(
        self, projection: Callable[[torch.Tensor], torch.Tensor], rows: int = 65536
    ) -> torch.Tensor:
        """Keys (n, D), float16, of all images in the order of the set.

        Raises:
            TeacherError: Some are missing, or the file holds what is not finite.
        """
        if not self.complete:
            raise TeacherError(
                f"{printable(self.path)} holds the features of {self.done:,} of "
                f"{self.belongs.images:,} images: the command that makes them goes on"
            )
        parts = []
        for first in range(0, self.belongs.images, rows):
            part = torch.from_numpy(self._rows[first : first + rows].astype(np.float32))
            if not part.isfinite().all():
                raise TeacherError(
                    f"{printable(self.path)} holds features that are not finite: it is damaged. "
                    "Remove it, and they are computed anew"
                )
            parts.append(projection(part).half())
        return torch.cat(parts)

    def _begin(self, belongs: Belongs, file: BinaryIO) -> None:
        """Takes the file's room on the disk: one that fills up later would end in a SIGBUS."""
        file.write(self._head(0))
        file.flush()
        if hasattr(os, "posix_fallocate"):
            os.posix_fallocate(file.fileno(), 0, belongs.bytes)
        else:
            file.truncate(belongs.bytes)

    def _head(self, done: int) -> bytes:
        head = json.dumps({"format": FORMAT, "done": done, **self.belongs._asdict()})
        content = head.encode("ascii")
        if len(content) > HEAD:
            raise TeacherError(f"the teacher's name is too long: {self.belongs.name[:80]}...")
        return content.ljust(HEAD)

    def _note(self, done: int) -> None:
        self.done = done
        with open(self.path, "r+b") as file:
            file.write(self._head(done))
            file.flush()
            os.fsync(file.fileno())


def refuse_broken(features: torch.Tensor, places: Sequence[int], width: int) -> None:
    """Raise TeacherError unless features (n, width) of images at n places are numbers."""
    expected = (len(places), width)
    if tuple(features.shape) != expected:
        raise TeacherError(
            f"the teacher gave features {tuple(features.shape)} where {expected} were expected"
        )
    limit = float(np.finfo(TYPE).max)
    bad = ~(features.abs() <= limit).all(dim=1)
    if bad.any():
        place = places[int(bad.nonzero()[0])]
        raise TeacherError(
            f"the teacher's features of {int(bad.sum()):,} of {len(places):,} images are not "
            f"finite, or above {limit:,.0f}; the first is image {place:,} of the list: its "
            "weights are broken, or it overflows on such images. Nothing was trained"
        )


def _check(path: Path, belongs: Belongs) -> int:
    """How many images of a file are done."""
    shown = printable(path)
    try:
        with open_regular(path) as file:
            head, size = file.read(HEAD), os.fstat(file.fileno()).st_size
        found = parse_json(head.decode("ascii"))
    except (FileRefusedError, UnicodeDecodeError) as error:
        raise TeacherError(f"{shown} holds no stored features of a teacher: {error}") from None
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        raise TeacherError(f"{shown} holds no stored features of a teacher. {_WAY}")
    unlike = {
        key: (found.get(key), value)
        for key, value in belongs._asdict().items()
        if key != "name" and found.get(key, Belongs._field_defaults.get(key)) != value
    }
    if "teacher" in unlike or "width" in unlike:
        raise TeacherError(
            f"{shown} holds the features of another teacher: "
            f"{printable(str(found.get('name')))[:100]}, not {belongs.name}. {_WAY}"
        )
    if "size" in unlike:
        raise TeacherError(
            f"{shown} holds features of images of {printable(str(found.get('size')))[:20]} px, and "
            f"{belongs.size} px are asked. {_WAY}"
        )
    if "channels" in unlike:
        was = printable(str(found.get("channels") or "pictures"))[:80]
        raise TeacherError(
            f"{shown} holds features of other channels: {was}, and the teacher is shown "
            f"{belongs.channels or 'pictures'}. {_WAY}"
        )
    if unlike:
        raise TeacherError(
            f"{shown} holds features of another set: of {printable(str(found.get('images')))[:20]} "
            f"images, and these are {belongs.images:,}, or others. {_WAY}"
        )
    done = found.get("done")
    if size != belongs.bytes or type(done) is not int or not 0 <= done <= belongs.images:
        raise TeacherError(
            f"{shown} is damaged: {size:,} bytes, where {belongs.bytes:,} are expected. {_WAY}"
        )
    return done


_WAY = "Remove it to have them computed anew, or name another --out"


def _ask_disk(folder: Path, belongs: Belongs) -> None:
    free = shutil.disk_usage(folder).free
    if free < (1 + RESERVE) * belongs.bytes:
        raise TeacherError(
            f"{printable(folder)}: the teacher's features of {belongs.images:,} images need "
            f"{belongs.bytes / 1e9:.2f} GB and a tenth beside, {free / 1e9:.2f} GB are free. Make "
            "room, or name an --out on another disk"
        )
