# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Shards of a bucket on a local disk, below a size limit; processes of a machine share them."""

import contextlib
import errno
import fcntl
import hashlib
import os
import shutil
from collections.abc import Sequence
from pathlib import Path

from ...checkpoint import system_error, write_atomic
from ...untrusted import printable
from .errors import ShardError
from .index import Index, Shard
from .store import Store

# In the environment, where a machine's disk belongs, and not in a config that others run too.
ROOT, GB = "XMOCO_SHARDS", "XMOCO_SHARDS_GB"
FULL = (errno.ENOSPC, errno.EDQUOT)
TRIES = 3  # of a shard that comes with another checksum


class DamagedShardError(ShardError):
    """A shard whose bytes do not have their checksum."""


class Cache:
    """Whole, checked shards in a folder; the one that was not used for longest goes first.

    Args:
        store: Where they come from.
        index: Of the set.
        root: Folder for the caches of all sets. Defaults to what the environment says, else
            `~/.cache/xmoco_plugin/shards`.
        gb: That this set may take. Defaults to what the environment says, else half of what the
            disk has free.

    Raises:
        ShardError: The folder cannot be made, or the environment's number is none.
    """

    def __init__(
        self, store: Store, index: Index, root: str | Path | None = None, gb: float | None = None
    ) -> None:
        root, gb = root or os.environ.get(ROOT), gb or _given_gb()
        home = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
        base = Path(root or Path(home, "xmoco_plugin", "shards")).expanduser()
        self.store, self.folder = store, base / index.digest
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            free = shutil.disk_usage(self.folder).free
        except OSError as error:
            raise ShardError(
                f"the cache {printable(base)} cannot be made ({error.strerror}): name another "
                "folder (--cache)"
            ) from None
        self.limit = int(gb * 1e9) if gb else (free + self._used()) // 2

    def check_room(self, shards: Sequence[Shard], mixed: int) -> None:
        """Make sure that what is read at a time fits.

        Raises:
            ShardError: It does not; says what would.
        """
        largest = max(shard.bytes for shard in shards)
        total = sum(shard.bytes for shard in shards)
        needed = min((mixed + 1) * largest, total)
        if needed > self.limit:
            raise ShardError(
                f"the cache {printable(self.folder.parent)} may hold {self.limit / 1e9:.3g} GB, "
                f"and the order reads {mixed} shards of up to {largest / 1e6:,.3g} MB at a time: "
                f"give it {needed / 1e9:.3g} GB (--cache-gb), or name a folder on a larger disk "
                "(--cache)"
            )
        short = needed - self._used() - shutil.disk_usage(self.folder).free
        if short > 0:
            raise ShardError(
                f"the disk of the cache {printable(self.folder.parent)} is full: "
                f"{short / 1e9:.3g} GB more are needed; make room, or name another folder (--cache)"
            )

    def path(self, shard: Shard) -> Path:
        """A shard's file; it is fetched where it is not there.

        Raises:
            DamagedShardError: What comes has another checksum, each time.
            ShardError: It does not come, or cannot be kept.
        """
        path = self.folder / shard.name
        if self._is_there(path, shard):
            return path
        try:
            with open(self.folder / f"{shard.name}.lock", "ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)  # another process may fetch it
                if not self._is_there(path, shard):
                    content = self._fetch(shard)
                    self._make_room(shard)
                    self._keep(content, path)
        except OSError as error:
            raise self._not_kept(shard.name, error) from None
        return path

    def drop(self, shard: Shard) -> None:
        """Forgets a shard that is damaged here.

        Raises:
            ShardError: It cannot be removed.
        """
        path = self.folder / shard.name
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise ShardError(
                f"{printable(path)} is damaged and cannot be removed ({error.strerror}): remove "
                "it, or name another folder (--cache)"
            ) from None

    def _fetch(self, shard: Shard) -> bytes:
        where = printable(self.store.path(shard.name))
        for _ in range(TRIES):
            try:
                content = self.store.read(shard.name, shard.bytes)
            except FileNotFoundError:
                raise ShardError(
                    f"{where} is gone since the run began: put it back, then the same command "
                    "goes on"
                ) from None
            if hashlib.sha256(content).hexdigest() == shard.sha256:
                return content
        raise DamagedShardError(f"{where} does not have its checksum")

    def _is_there(self, path: Path, shard: Shard) -> bool:
        try:
            if path.stat().st_size != shard.bytes:
                return False
        except OSError:
            return False
        with contextlib.suppress(OSError):  # gone, or not ours: then it is only not the newest
            os.utime(path)
        return True

    def _shards(self) -> list[tuple[float, int, Path]]:
        found = []
        for path in self.folder.glob("*.tar"):
            try:
                stat = path.stat()
            except OSError:  # another process has made room
                continue
            found.append((stat.st_mtime, stat.st_size, path))
        return sorted(found)

    def _used(self) -> int:
        return sum(size for _, size, _ in self._shards())

    def _make_room(self, shard: Shard) -> None:
        found = self._shards()
        used = sum(size for _, size, _ in found)
        for _, size, path in found:
            if used + shard.bytes <= self.limit:
                return
            path.unlink(missing_ok=True)  # who reads it still has it
            used -= size

    def _keep(self, content: bytes, path: Path) -> None:
        for _, _, oldest in [*self._shards(), (0, 0, None)]:
            try:
                write_atomic(content, path, save=lambda data, file: file.write(data))
                return
            except OSError as error:
                cause = system_error(error) or error
                if cause.errno not in FULL or oldest is None:
                    raise self._not_kept(path.name, cause) from None
                oldest.unlink(missing_ok=True)

    def _not_kept(self, name: str, error: BaseException) -> ShardError:
        why = getattr(error, "strerror", None) or str(error)
        return ShardError(
            f"the cache {printable(self.folder)} cannot take {name} ({why}): make room there, then "
            "the same command goes on; or name another folder (--cache)"
        )


def _given_gb() -> float | None:
    text = os.environ.get(GB)
    try:
        number = float(text) if text else None
    except ValueError:
        number = 0.0
    if number is not None and not 0 < number < 1e9:
        raise ShardError(f"{GB}={printable(str(text))[:40]} is no number of GB above 0")
    return number
