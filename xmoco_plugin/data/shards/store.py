# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where shards lie: a folder, or a bucket that fsspec reaches."""

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...checkpoint import write_atomic
from ...untrusted import FileRefusedError, printable, read_regular
from .connecting import TRIES, connect
from .errors import ShardError
from .failures import meaning, no_bucket, plain
from .place import bucket, check_url, library, plain_url

T = TypeVar("T")
LIMIT = 10**9  # bytes of a file that is no shard
PAUSE = 0.5  # seconds before the second try, and twice that before the third


class Store:
    """Files of one set, by name; a name has no folder but `parts/`.

    The connection belongs to a process: a worker that was forked makes its own.

    Args:
        url: A folder, or `s3://bucket/set` and the like.
        tries: Of a request that fails otherwise than by a missing file or right. Defaults to what
            the library's own few leave to us.

    Raises:
        ShardError: The URL holds credentials, or a package is missing, which is named.
    """

    def __init__(self, url: str, tries: int | None = None) -> None:
        self.remote = "://" in url
        if self.remote and (why := check_url(url)):
            raise ShardError(why)
        self.url = plain_url(url) if self.remote else os.path.abspath(os.path.expanduser(url))
        self._tries = tries or (TRIES[library(self.url)] if self.remote else 1)
        self._there = False  # the bucket: something was found in it
        self._files: Any = None
        self._process = -1

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_files": None, "_process": -1}

    def path(self, name: str) -> str:
        """Of a file of the set."""
        return f"{self.url}/{name}"

    def read(self, name: str, limit: int = LIMIT) -> bytes:
        """A file, whole.

        Args:
            name: Of the file.
            limit: Bytes it may have; of a larger one no more are asked for.

        Raises:
            FileNotFoundError: There is none.
            ShardError: It cannot be read, or is larger; says why.
        """
        if self.remote:
            path = self.path(name)
            content = self._ask(lambda files: files.cat_file(path, start=0, end=limit + 1), name)
            if len(content) > limit:
                raise ShardError(f"{printable(path)}: more than {limit:,} bytes, the limit")
            return content
        if not os.path.lexists(self.path(name)):
            raise FileNotFoundError(self.path(name))
        try:
            return read_regular(self.path(name), limit)
        except FileRefusedError as error:
            raise ShardError(f"{printable(self.path(name))}: {error}") from None

    def write(self, name: str, content: bytes) -> None:
        """A file, whole or not at all."""
        if self.remote:
            self.check_writing()
            self._ask(lambda files: files.pipe_file(self.path(name), content), name)
            return
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(content, path, save=lambda data, file: file.write(data))

    def check_writing(self) -> None:
        """Raises ShardError where nothing is written: a repository would keep a commit a file."""
        if library(self.url) == "hf":
            raise ShardError(
                f"{printable(self.url)}: sets of hf:// are read alone: write the set into a folder "
                "(--to FOLDER) and upload that: hf upload-large-folder USER/NAME FOLDER "
                "--repo-type dataset."
            )

    def sizes(self) -> dict[str, int]:
        """Bytes of the files by name; empty where there is no such folder."""
        if self.remote:
            try:
                found = self._ask(lambda files: files.ls(self.url, detail=True, refresh=True), "")
            except FileNotFoundError:
                return {}
            return {f["name"].rpartition("/")[2]: f["size"] for f in found if f["type"] == "file"}
        if not os.path.isdir(self.url):
            return {}
        with os.scandir(self.url) as entries:
            return {entry.name: entry.stat().st_size for entry in entries if entry.is_file()}

    def _connected(self) -> Any:
        if self._files is None or self._process != os.getpid():
            self._files, self._process = connect(self.url), os.getpid()
        return self._files

    def _ask(self, request: Callable[[Any], T], name: str) -> T:
        """What a request answers, tried anew where that may help."""
        where = printable(self.path(name)).rstrip("/")
        for left in reversed(range(self._tries)):
            try:
                answer = request(self._connected())
                self._there = True
                return answer
            except ShardError:
                raise
            except Exception as error:  # of any library that fsspec reaches a bucket by
                found = meaning(error, where)
                if found.sentence:
                    raise ShardError(found.sentence) from None
                if found.missing and not self._is_bucket():
                    raise ShardError(no_bucket(where)) from None
                if found.missing:
                    raise FileNotFoundError(where) from None
                if not left:
                    many = f"{self._tries} tries" if self._tries > 1 else "its library's tries"
                    # Not from the error: what a library says in full may hold a signature.
                    raise ShardError(
                        f"{where}: no whole answer after {many}; the last: "
                        f"{type(error).__name__}: {plain(error)}. When the server answers again, "
                        "the same command goes on."
                    ) from None
                time.sleep(PAUSE * (self._tries - left))
        raise AssertionError

    def _is_bucket(self) -> bool:
        """Whether the bucket may be there: a library may say of both no more than 'no such file'.

        Who may read a set alone may not ask for its bucket, which then counts as there.
        """
        if not self._there and library(self.url) in ("gs", "az"):
            try:
                self._connected().info(bucket(self.url))
            except FileNotFoundError:
                return False
            except Exception:  # no right, no answer: nothing is known
                return True
            self._there = True
        return True
