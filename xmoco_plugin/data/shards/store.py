# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where shards lie: a folder, or a bucket that fsspec reaches."""

import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ...checkpoint import write_atomic
from ...untrusted import FileRefusedError, printable, read_regular
from .errors import ShardError

T = TypeVar("T")
# What fsspec needs beside itself, by scheme.
PACKAGES = {"s3": "s3fs", "gs": "gcsfs", "gcs": "gcsfs", "az": "adlfs", "abfs": "adlfs"}
SCHEMES = (*PACKAGES, "hf")
TRIES = 3  # of our own, each a request with the library's own few
LIMIT = 10**9  # bytes of a file that is no shard
# What the name of a set is made of: it stands in configs, and is no pattern of several names.
NAME = re.compile(r"[\w.\-/=+%,:~!&]+")
# Seconds: to begin an answer, and without a byte of one. A stalled server ends after about TRIES
# times the second.
CONNECT, SILENCE = 10, 30
PAUSE = 0.5  # seconds before the second try, and twice that before the third


def is_remote(url: str) -> bool:
    """Whether it names a bucket and not a folder."""
    return url.partition("://")[0].lower() in SCHEMES and "://" in url


def check_url(url: str) -> str | None:
    """Why a URL cannot name a set, in a sentence; None where it can."""
    scheme, _, rest = url.partition("://")
    if scheme.lower() not in SCHEMES:
        return f"{_plain(url)}: buckets are read by {', '.join(f'{s}://' for s in SCHEMES)}."
    if "@" in rest or "?" in rest:
        return (
            f"{_plain(url)}: credentials have no place in the name of a set, which stands in the "
            "config and the log; put them into the environment (AWS_ACCESS_KEY_ID, ... )."
        )
    if not rest.strip("/"):
        return f"{_plain(url)}: name a bucket and a set in it, as in {scheme}://bucket/set."
    if not NAME.fullmatch(rest):
        return (
            f"{_plain(url)}: the name of a set has letters, digits and . - _ / = + % , : ~ ! & "
            "alone: name another."
        )
    return None


def plain_url(url: str) -> str:
    """The one spelling of a URL, S3://b/set/ as s3://b/set; what is no bucket stays as it is."""
    scheme, _, rest = url.partition("://")
    return f"{scheme.lower()}://{rest.rstrip('/')}" if is_remote(url) else url


def _plain(url: str) -> str:
    """A URL without what may be a secret."""
    scheme, _, rest = url.partition("://")
    return printable(f"{scheme}://{rest.rpartition('@')[2].partition('?')[0]}")


class Store:
    """Files of one set, by name; a name has no folder but `parts/`.

    The connection belongs to a process: a worker that was forked makes its own.

    Args:
        url: A folder, or `s3://bucket/set` and the like.
        tries: Of a request that fails otherwise than by a missing file or right.

    Raises:
        ShardError: The URL holds credentials, or a package is missing, which is named.
    """

    def __init__(self, url: str, tries: int = TRIES) -> None:
        self.remote, self._tries = "://" in url, tries
        if self.remote and (why := check_url(url)):
            raise ShardError(why)
        self.url = plain_url(url) if self.remote else os.path.abspath(os.path.expanduser(url))
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
            self._ask(lambda files: files.pipe_file(self.path(name), content), name)
            return
        path = Path(self.path(name))
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(content, path, save=lambda data, file: file.write(data))

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
        where = _plain(self.path(name)).rstrip("/")
        for left in reversed(range(self._tries)):
            try:
                return request(self._connected())
            except ShardError:
                raise
            except FileNotFoundError as error:
                if "bucket" in str(error).lower() and "does not exist" in str(error):
                    raise ShardError(f"{where}: there is no such bucket.") from None
                raise
            except Exception as error:  # of any library that fsspec reaches a bucket by
                kind, text = type(error).__name__, printable(str(error))[:300]
                if "Credentials" in kind or "credentials" in text.lower():
                    raise ShardError(
                        f"{where}: there are no credentials ({kind}): put them into the usual "
                        "environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE)."
                    ) from None
                if isinstance(error, PermissionError):
                    raise ShardError(
                        f"{where}: not allowed ({text}): ask for the right to read and list, or "
                        "renew what has expired."
                    ) from None
                if not left:
                    raise ShardError(
                        f"{where}: no whole answer after {self._tries} tries; the last: {kind}: "
                        f"{text}. When the server answers again, the same command goes on."
                    ) from error
                time.sleep(PAUSE * (self._tries - left))
        raise AssertionError


def connect(url: str) -> Any:
    """fsspec's files for a URL; credentials and server come from the environment alone."""
    scheme = url.partition("://")[0].lower()
    try:
        import fsspec

        if scheme != "s3":
            return fsspec.filesystem(scheme, skip_instance_cache=True)
        limits = dict(connect_timeout=CONNECT, read_timeout=SILENCE, retries=dict(max_attempts=0))
        files = fsspec.filesystem("s3", skip_instance_cache=True, config_kwargs=limits)
        files.retries = 1  # ours are enough: together they would multiply
        return files
    except ImportError as error:
        package = PACKAGES.get(scheme, "huggingface_hub")
        extra = "'xmoco_plugin[shards]'" if scheme == "s3" else package
        raise ShardError(
            f"{scheme}:// needs the package {package}, which is not installed ({error}): "
            f"pip install {extra}."
        ) from None
