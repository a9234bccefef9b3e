# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a set of shards is: shards.json, which is written last, beside the shards."""

import hashlib
import json
import re
from typing import Any, NamedTuple

from ...untrusted import FileRefusedError, parse_json, printable
from .errors import ShardError
from .store import Store

FORMAT = 1
INDEX = "shards.json"
NAME = re.compile(r"\d{5,9}\.tar")
SHA256 = re.compile(r"[0-9a-f]{64}")


class Shard(NamedTuple):
    """One of them: its file, how many images, bytes and the SHA-256 of these."""

    name: str
    images: int
    bytes: int
    sha256: str


class Index(NamedTuple):
    """Of a set.

    Attributes:
        shards: In their order; images count through them.
        left_out: Files of the folder that are not in them.
        digest: Of the shards: two sets with the same one hold the same images.
    """

    shards: list[Shard]
    left_out: int
    digest: str

    @property
    def images(self) -> int:
        return sum(shard.images for shard in self.shards)

    @property
    def bytes(self) -> int:
        return sum(shard.bytes for shard in self.shards)


def index_text(shards: list[Shard], left_out: int, source: str) -> str:
    """The content of ``shards.json``."""
    rows = [shard._asdict() for shard in shards]
    return json.dumps(dict(format=FORMAT, source=source, left_out=left_out, shards=rows), indent=1)


def read_index(store: Store) -> tuple[Index, dict[str, Any]]:
    """The index and what else the file says.

    Raises:
        ShardError: There is none, it is of another version, or damaged.
    """
    where = printable(store.path(INDEX))
    try:
        content = store.read(INDEX)
    except FileNotFoundError:
        raise ShardError(
            f"{printable(store.url)} is no whole set of shards, {INDEX} is not there: write one "
            f"with xmoco pack shards FOLDER --to {printable(store.url)}, or give that command "
            "again if it was stopped, it goes on"
        ) from None
    try:
        facts = parse_json(content)
    except (FileRefusedError, ValueError) as error:
        raise ShardError(f"{where} is damaged ({error}): pack the folder again") from None
    if not isinstance(facts, dict) or facts.get("format") != FORMAT:
        other = facts.get("format") if isinstance(facts, dict) else None
        raise ShardError(
            f"{where} has format {printable(str(other))[:40]}; this version reads {FORMAT}: pack "
            "the folder again, or use the version that wrote it"
        )
    rows = facts.get("shards")
    shards = [_shard(row) for row in rows] if isinstance(rows, list) else []
    left_out = facts.get("left_out")
    if not shards or None in shards or type(left_out) is not int or left_out < 0:
        raise ShardError(f"{where} is damaged, it names no shards: pack the folder again")
    whole = [shard for shard in shards if shard]
    # Of the shards alone: the same images, packed from a copy of their folder, are the same set.
    digest = hashlib.sha256(index_text(whole, left_out, "").encode()).hexdigest()[:32]
    return Index(whole, left_out, digest), facts


def check_shards(store: Store, index: Index) -> None:
    """Make sure that every shard is there in its whole length, without reading one.

    Raises:
        ShardError: Names the first that is missing or cut, and counts them.
    """
    sizes = store.sizes()
    bad = [s for s in index.shards if sizes.get(s.name) != s.bytes]
    if not bad:
        return
    first, there = bad[0], sizes.get(bad[0].name)
    what = (
        "is missing" if there is None else f"has {there:,} bytes where {INDEX} says {first.bytes:,}"
    )
    raise ShardError(
        f"{len(bad):,} of {len(index.shards):,} shards are not whole: "
        f"{printable(store.path(first.name))} {what}. Copy them again, or delete them and {INDEX} "
        "and give xmoco pack shards once more."
    )


def _shard(row: Any) -> Shard | None:
    if not isinstance(row, dict):
        return None
    name, images, size, sha = (row.get(key) for key in Shard._fields)
    fits = isinstance(name, str) and NAME.fullmatch(name) is not None
    fits = fits and type(images) is int and images > 0 and type(size) is int and size > 0
    fits = fits and isinstance(sha, str) and SHA256.fullmatch(sha) is not None
    return Shard(name, images, size, sha) if fits else None  # type: ignore[arg-type]
