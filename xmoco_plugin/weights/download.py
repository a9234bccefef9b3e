# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Weights from a URL: into torch hub's cache, whole or not at all, then read like any file."""

import contextlib
import hashlib
import http.client
import ipaddress
import os
import re
import shutil
import sys
import urllib.error
import urllib.request
import uuid
from pathlib import Path, PurePosixPath
from typing import Any
from urllib.parse import urlsplit

import torch
from mmengine.dist import broadcast_object_list, get_dist_info
from mmengine.logging import print_log

from ..untrusted import FileRefusedError, open_regular, printable
from .errors import CheckpointError, NotFetchedError

ALLOW_HTTP = "XMOCO_ALLOW_HTTP"
# Bytes (ours): a billion weights in float32 with an optimizer's two moments have 12 GB.
DOWNLOAD_LIMIT = 16 << 30
BLOCK = 1 << 20  # bytes
SECONDS = 60  # without a byte
# torch's convention: at least eight of the hexadecimal digits of the file's SHA-256. Digits alone
# are more often a date.
HASH = re.compile(r"-((?=\d*[a-f])[a-f0-9]{8,64})\.")


def check_url(url: str) -> None:
    """Refuses a URL that no weights are fetched from.

    Raises:
        CheckpointError: It is plain http and not this machine's own, no URL, or names no file.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise CheckpointError(f"{shown_url(url)} is no URL: {error}.") from None
    if parts.scheme not in ("http", "https") or not host or not url.isprintable():
        raise CheckpointError(f"{shown_url(url)} is no URL that weights are fetched from.")
    if parts.scheme == "http" and not _loopback(host) and os.environ.get(ALLOW_HTTP) != "1":
        raise CheckpointError(
            f"{shown_url(url)} is plain http: anybody on the way can put other weights in its "
            f"place. Use https, or set {ALLOW_HTTP}=1 where you trust the network."
        )
    _file_name(url)


def cached_file(url: str) -> Path:
    """Where the file of a URL lies once it is fetched, as torch hub names it."""
    return Path(torch.hub.get_dir(), "checkpoints", _file_name(url))


def fetch(
    url: str, place: Path | None = None, alone: bool = False, token: str | None = None
) -> Path:
    """Fetches the file of a URL, unless the cache has it.

    Where several processes train, the first fetches and the others wait for it. A process on
    another machine then fetches its own. All of them must ask for it, unless ``alone``.

    Args:
        url: Of the file.
        place: Where to; default: torch hub's cache, under the name in the URL.
        alone: Whether this process asks and no other.
        token: What the host of the URL is shown, and no other that it leads to.

    Returns:
        Its place.

    Raises:
        CheckpointError: As :func:`check_url`; or it is too large, or is not the file that its name
            says by a hash.
        NotFetchedError: It cannot be fetched.
    """
    rank, world = get_dist_info()
    if world == 1 or alone:
        return _fetch(url, place, token)
    outcome: list[Any] = [None]
    if rank == 0:
        try:
            _fetch(url, place, token)
        except CheckpointError as error:
            outcome = [str(error)]
    broadcast_object_list(outcome)
    if outcome[0] is not None:
        raise CheckpointError(outcome[0])
    return _fetch(url, place, token)


def check_hash(path: Path, name: str) -> None:
    """Compares a file with the hash in its name, where that has one.

    Raises:
        CheckpointError: They differ.
    """
    given = HASH.search(name)
    if given is None:
        return
    digest = hashlib.sha256()
    try:
        with open_regular(path) as file:
            while block := file.read(BLOCK):
                digest.update(block)
    except FileRefusedError as error:
        raise CheckpointError(f"{printable(path)} is no checkpoint file: {error}.") from None
    if not digest.hexdigest().startswith(given[1]):
        raise CheckpointError(
            f"{printable(name)} has the SHA-256 {digest.hexdigest()[:8]}..., its name says "
            f"{given[1]}: it is another file. Fetch it anew; if you know better, give it a name "
            "of your own and name its path."
        )


def shown_url(url: str) -> str:
    """A URL as it may be printed: without a password."""
    return printable(re.sub(r"//[^/@\s]*@", "//...@", url))


def _fetch(url: str, place: Path | None, token: str | None) -> Path:
    check_url(url)
    target = cached_file(url) if place is None else place
    if target.exists():
        print_log(
            f"{shown_url(url)} is in the cache: {target} (remove it to fetch it anew)", "current"
        )
        check_hash(target, target.name)
        return target
    # Under a name of its own: several processes may fetch at once, and one may be killed.
    partial = target.with_name(f".{uuid.uuid4().hex}.partial")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        _download(url, partial, token)
        check_hash(partial, target.name)
        os.replace(partial, target)
    except (OSError, http.client.HTTPException, ValueError) as error:
        if isinstance(error, CheckpointError):
            raise
        status = error.code if isinstance(error, urllib.error.HTTPError) else None
        raise NotFetchedError(
            f"{shown_url(url)} could not be fetched: {printable(str(error))}. Fetch it yourself "
            "and name the file.",
            status,
        ) from None
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)
    return target


def _download(url: str, partial: Path, token: str | None) -> None:
    request = urllib.request.Request(url, headers={"User-Agent": "xmoco_plugin"})
    if token:
        request.add_unredirected_header("Authorization", f"Bearer {token}")
    with _opener(url).open(request, timeout=SECONDS) as answer:
        length = answer.headers.get("Content-Length")
        expected = int(length) if length is not None else None
        _check_size(url, expected or 0, partial)
        from torch.hub import tqdm  # type: ignore[attr-defined]  # as the host shows it

        done = 0
        bar = tqdm(total=expected, unit="B", unit_scale=True, disable=not sys.stderr.isatty())
        with open(partial, "xb") as file, bar:
            while block := answer.read(BLOCK):
                done += len(block)
                _check_size(url, done, None)
                file.write(block)
                bar.update(len(block))
        if expected is not None and done != expected:
            raise NotFetchedError(
                f"{shown_url(url)} ended after {done:,} of {expected:,} bytes: try again."
            )


def _check_size(url: str, size: int, partial: Path | None) -> None:
    if size > DOWNLOAD_LIMIT:
        raise CheckpointError(
            f"{shown_url(url)} is larger than {DOWNLOAD_LIMIT >> 30} GiB, the limit: fetch it "
            "yourself and name the file."
        )
    if partial is not None and (free := shutil.disk_usage(partial.parent).free) < size:
        raise CheckpointError(
            f"{shown_url(url)} has {size:,} bytes, {free:,} are free in {partial.parent}: make "
            "room, or name another cache with TORCH_HOME."
        )


class _Redirects(urllib.request.HTTPRedirectHandler):
    """Follows to where weights may be fetched from, and never from https to http."""

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str):
        if urlsplit(req.full_url).scheme == "https" and urlsplit(newurl).scheme != "https":
            raise CheckpointError(
                f"{shown_url(req.full_url)} leads to {shown_url(newurl)}, which is not https: "
                "nothing was fetched."
            )
        if urlsplit(newurl).scheme not in ("http", "https"):
            raise CheckpointError(
                f"{shown_url(req.full_url)} leads to {shown_url(newurl)}: only https is followed."
            )
        check_url(newurl)
        further = super().redirect_request(req, fp, code, msg, headers, newurl)
        token = req.get_header("Authorization")
        # A repository of another name is of the same host; its files mostly lie with another.
        if further is not None and token and urlsplit(newurl)[:2] == urlsplit(req.full_url)[:2]:
            further.add_unredirected_header("Authorization", token)
        return further


def _opener(url: str) -> urllib.request.OpenerDirector:
    # A proxy cannot reach this machine's own addresses.
    direct = [urllib.request.ProxyHandler({})] if _loopback(urlsplit(url).hostname or "") else []
    return urllib.request.build_opener(_Redirects(), *direct)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _file_name(url: str) -> str:
    name = PurePosixPath(urlsplit(url).path).name
    if not name or name.startswith(".") or not name.isprintable() or len(name.encode()) > 200:
        raise CheckpointError(f"{shown_url(url)} names no file of weights.")
    return name
