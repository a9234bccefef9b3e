# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Reading a set of shards by the number of an image."""

import hashlib
from collections import OrderedDict
from pathlib import Path

import numpy as np

from ...untrusted import printable
from .cache import Cache, DamagedShardError
from .errors import ShardError
from .index import check_shards, read_index
from .order import MIXED
from .store import Store
from .tar import find_files, name_of

OPEN = 2 * MIXED  # shards that a process has open


class ShardSet:
    """A whole set, open for reading; it is pickled as what it was opened by.

    Shards in a folder are memory-mapped where they are and checked when this process opens them;
    those of a bucket are fetched, checked and kept in a cache, where this process checks each once
    more: one that is damaged there is fetched anew.

    Args:
        url: Folder, or `s3://bucket/set` and the like.
        cache: Folder for shards of a bucket; see :class:`Cache`.
        cache_gb: That they may take there.
        digest: That the index must have.

    Raises:
        ShardError: No set there, not a whole one, or another than the digest says.
    """

    def __init__(
        self,
        url: str,
        cache: str | None = None,
        cache_gb: float | None = None,
        digest: str | None = None,
    ) -> None:
        self.store = Store(url)
        self.index, _ = read_index(self.store)
        if digest is not None and digest != self.index.digest:
            raise ShardError(
                f"{self.store.url} is another set than when the run began: put the old one back, "
                "or start a new run on this one"
            )
        check_shards(self.store, self.index)
        self.lengths = np.array([shard.images for shard in self.index.shards])
        self._ends = np.cumsum(self.lengths)
        self.cache = Cache(self.store, self.index, cache, cache_gb) if self.store.remote else None
        self._open: OrderedDict[int, tuple[np.ndarray, np.ndarray]] = OrderedDict()
        self._checked: set[int] = set()  # in the cache, by this process: whole at its first look
        self._damaged: dict[int, str] = {}

    def __len__(self) -> int:
        return int(self._ends[-1])

    def __getstate__(self) -> dict:
        return {**vars(self), "_open": OrderedDict(), "_checked": set()}

    def check_room(self, mixed: int) -> None:
        """Make sure that the cache holds so many shards; ShardError where it does not."""
        if self.cache is not None:
            self.cache.check_room(self.index.shards, mixed)

    def place(self, image: int) -> tuple[int, int]:
        """Shard of an image, and its number there."""
        shard = int(np.searchsorted(self._ends, image, side="right"))
        return shard, image - int(self._ends[shard] - self.lengths[shard])

    def read(self, image: int) -> tuple[str, bytes]:
        """Name and file of an image.

        Raises:
            DamagedShardError: Its shard does not have its checksum.
            ShardError: Its shard does not come.
        """
        shard, row = self.place(image)
        content, files = self._opened(shard)
        begin, start, size = files[row]
        return name_of(content, int(begin)), content[start : start + size].tobytes()

    def _opened(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        if number in self._damaged:
            raise DamagedShardError(self._damaged[number])
        if number in self._open:
            self._open.move_to_end(number)
            return self._open[number]
        try:
            found = self._look(number)
        except DamagedShardError as error:
            self._damaged[number] = str(error)
            raise
        self._open[number] = found
        if len(self._open) > OPEN:
            self._open.popitem(last=False)
        return found

    def _look(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        shard = self.index.shards[number]
        where = self.store.path(shard.name)
        for last in (False, True):
            path = self.cache.path(shard) if self.cache else Path(where)
            try:
                content = np.memmap(path, np.uint8, "r")
            except (OSError, ValueError) as error:
                # Another process may have made room in the cache a moment ago.
                if last or self.cache is None:
                    raise ShardError(f"{where} cannot be read any more: {error}") from None
                continue
            if number in self._checked or hashlib.sha256(content.data).hexdigest() == shard.sha256:
                break
            if last or self.cache is None:
                raise DamagedShardError(f"{printable(path)} does not have its checksum")
            self.cache.drop(shard)  # damaged on this disk since it came
        if self.cache is not None:
            self._checked.add(number)
        try:
            files = find_files(content)
        except ShardError as error:
            raise DamagedShardError(f"{where}: {error}") from None
        if len(files) != shard.images:
            raise DamagedShardError(
                f"{where} holds {len(files):,} images, the index says {shard.images:,}"
            )
        return content, files
