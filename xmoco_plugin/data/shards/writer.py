# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writing a set of shards: a shard at a time, so that a command that was stopped goes on."""

import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from ...untrusted import FileRefusedError, parse_json
from ...untrusted.image_formats import describe_content, image_format
from ..decode_image import UnreadableImageError, read_image_file
from ..unlabeled_folder import find_images
from .errors import ShardError
from .index import INDEX, Shard, index_text, read_index
from .store import Store
from .tar import make_tar

SHARD_MB = 32  # ours: a second of a network, and 64 of them 2 GB of a cache
CHANGED = "a file with another time of change counts as changed; cp -p and rsync -a keep it"
PARTS = "parts"  # what is known of each shard until the index stands


def write_shards(
    folder: str | Path,
    url: str,
    shard_mb: float = SHARD_MB,
    progress: Callable[[int, int], object] = lambda done, total: None,
) -> list[tuple[str, str]]:
    """Write every image below a folder into shards, files as they are.

    The order is that of a hash of the names: each shard is a sample of the folder. What is no
    image is left out and named; what cannot be decoded is found by who reads it.

    Args:
        folder: Of images, in any depth.
        url: A folder, or `s3://bucket/set` and the like; what stands there of an earlier call with
            the same images is not written again.
        shard_mb: Files of a shard, MB; one that is larger is a shard of its own.
        progress: Called with (images done, images there are).

    Returns:
        (name, reason) of the files left out, by this call or before it.

    Raises:
        ShardError: The place cannot be written, or holds something else.
    """
    folder, store = Path(folder).expanduser(), Store(str(url))
    store.check_writing()
    names = sorted(find_images(str(folder)), key=_hash)
    stats = [_stat(folder / name) for name in names]
    sizes, source = [size for size, _ in stats], _digest(names, stats, shard_mb)
    there = store.sizes()
    if INDEX in there:
        facts = read_index(store)[1]
        if facts.get("source") != source:
            raise ShardError(
                f"{store.url} holds a set of other images, or of other shards: name another place"
                f" ({CHANGED})"
            )
        return _left_out_of(store, source)
    parts = list(_parts(names, sizes, int(shard_mb * 1e6)))
    shards, left_out, done = [], [], 0
    for number, part in enumerate(parts):
        note = _note(store, number, source)
        name = f"{number:05d}.tar"
        if note is None or (note["shard"] and there.get(name) != note["shard"]["bytes"]):
            note = _write(store, folder, name, part, source)
        if note["shard"]:
            shards.append(Shard(**note["shard"]))
        left_out += [tuple(pair) for pair in note["left_out"]]
        done += len(part)
        progress(done, len(names))
    if not shards:
        raise ShardError(f"none of {len(names):,} files is an image: nothing to pack")
    store.write(INDEX, index_text(shards, len(left_out), source).encode())
    return left_out


def _write(store: Store, folder: Path, name: str, part: list[str], source: str) -> dict[str, Any]:
    """One shard, and only then the note that it stands."""
    files, left_out = [], []
    for image in part:
        try:
            content = read_image_file(folder / image)
            if image_format(content) is None:
                raise UnreadableImageError(
                    describe_content(content) if content else "the file is empty (0 bytes)"
                )
        except (UnreadableImageError, OSError) as error:
            left_out.append((image, str(error)))
            continue
        files.append((image, content))
    note: dict[str, Any] = dict(source=source, left_out=left_out, shard=None)
    if files:
        tar = make_tar(files)
        store.write(name, tar)
        sha = hashlib.sha256(tar).hexdigest()
        note["shard"] = Shard(name, len(files), len(tar), sha)._asdict()
    store.write(f"{PARTS}/{Path(name).stem}.json", json.dumps(note).encode())
    return note


def _note(store: Store, number: int, source: str) -> dict[str, Any] | None:
    """What an earlier call says of a shard; None where there is nothing."""
    name = f"{PARTS}/{number:05d}.json"
    try:
        note = parse_json(store.read(name))
        if note["source"] == source:
            if note["shard"]:
                Shard(**note["shard"])
            return note if isinstance(note["left_out"], list) else None
    except FileNotFoundError:
        return None
    except (FileRefusedError, ValueError, KeyError, TypeError):
        pass
    raise ShardError(
        f"{store.path(name)} is of other images or options: name another place, or remove what is "
        f"there ({CHANGED})"
    )


def _left_out_of(store: Store, source: str) -> list[tuple[str, str]]:
    found, number = [], 0
    while note := _note(store, number, source):
        found += [tuple(pair) for pair in note["left_out"]]
        number += 1
    return found


def _parts(names: list[str], sizes: list[int], limit: int) -> Iterator[list[str]]:
    """Names of each shard: known before a file is read, so that a second call makes the same."""
    part: list[str] = []
    filled = 0
    for name, size in zip(names, sizes, strict=True):
        if part and filled + size > limit:
            yield part
            part, filled = [], 0
        part.append(name)
        filled += size
    if part:
        yield part


def _stat(path: Path) -> tuple[int, int]:
    """Bytes of a file, and when it was changed, ns."""
    try:
        found = path.stat()
    except OSError:  # a link that leads nowhere: left out when it is read
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _hash(name: str) -> bytes:
    return hashlib.sha256(os.fsencode(name)).digest()


def _digest(names: list[str], stats: list[tuple[int, int]], shard_mb: float) -> str:
    digest = hashlib.sha256(f"{shard_mb}\n".encode())
    for name, (size, changed) in zip(names, stats, strict=True):
        digest.update(os.fsencode(f"{size} {changed} {name}\0"))
    return digest.hexdigest()
