# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The images of a run, as they were when it began: their paths and what was in them."""

import os
import re
from pathlib import Path

from ..checkpoint import write_text
from ..data.tile_grid import write_tiles
from ..untrusted import FileRefusedError, printable, read_regular
from ..untrusted.files import TEXT_LIMIT
from .errors import PretrainError
from .scan import Scan

FILES = "files.txt"  # as ListedImages reads it
TILES = "tiles.txt"  # as TiledImages reads it
DIGESTS = "digests.txt"  # the same lines
DIGEST = re.compile(r"[0-9a-f]{32}")
LONGEST = 300  # characters of a path that a refusal shows
SHOWN = 3  # images that a refusal names; more if they differ in more ways


def write_list(found: Scan, folder: Path) -> None:
    """Writes ``files.txt``, one path a line, and ``digests.txt``, of the files' contents.

    Where tiles are trained on, ``tiles.txt`` too.
    """
    write_text(folder / DIGESTS, "".join(f"{digest}\n" for digest in found.digests))
    write_text(folder / FILES, "".join(f"{path}\n" for path in found.good))
    if found.tiles is not None:
        write_text(folder / TILES, write_tiles(found.tiles.places))


def compare_with_list(found: Scan, folder: Path, moved_from: str | None = None) -> None:
    """Makes sure that the images are those that the run began with.

    A file that was only touched or copied anew counts as unchanged.

    Args:
        found: Of the images now.
        folder: Of the run.
        moved_from: Where it lay when the list was written: what was unpacked there moved too.

    Raises:
        PretrainError: Some came, went, hold something else or cannot be read any more; says how
            many, names a few of each.
    """
    if not (folder / FILES).is_file():
        return  # removed since: there is nothing to compare with
    old = [_moved(path, moved_from, folder) for path in _lines(folder / FILES)]
    new = dict(zip(found.good, found.digests, strict=True))
    # A run that an older version began has no digests.
    kept = _lines(folder / DIGESTS) if (folder / DIGESTS).is_file() else []
    for number, line in enumerate(kept, 1):
        if not DIGEST.fullmatch(line):
            raise PretrainError(
                f"{folder / DIGESTS}, line {number}: {_short(line)!r} is no digest of an image. "
                "Remove the file to go on without it."
            )
    before = dict(zip(old, kept, strict=False))
    known, bad = set(old), dict(found.bad)
    groups = {
        "new": [path for path in new if path not in known],
        "gone": [path for path in old if path not in new and path not in bad],
        "changed": [path for path, now in new.items() if before.get(path, now) != now],
        "unreadable": [path for path in old if path in bad],
    }
    unlike = {name: paths for name, paths in groups.items() if paths}
    if not unlike:
        return
    counts = ", ".join(f"{len(paths):,} {name}" for name, paths in groups.items())
    share = max(1, SHOWN // len(unlike))
    named = [
        f"{_short(path)} is {name}" + (f": {bad[path]}" if path in bad else "")
        for name, paths in unlike.items()
        for path in paths[:share]
    ]
    raise PretrainError(
        f"the images are others than when {printable(folder)} began: {counts} "
        f"({'; '.join(named)}). Put them back as they were, or start a run of its own on them: "
        f"another --out, with --init {printable(folder / 'backbone.pth')} to go on from these "
        "weights."
    )


def trained_on(folder: Path) -> set[str]:
    """Digests of the images that a run was pretrained on; none where its folder has none."""
    if not (folder / DIGESTS).is_file():
        return set()
    try:
        return {line for line in _lines(folder / DIGESTS) if DIGEST.fullmatch(line)}
    except PretrainError:
        return set()


def _short(path: str) -> str:
    text = printable(path)
    return text if len(text) <= LONGEST else f"{text[:LONGEST]}..."


def _moved(path: str, old: str | None, folder: Path) -> str:
    inside = old is not None and path.startswith(f"{old.rstrip('/')}/")
    return str(folder / os.path.relpath(path, old)) if inside else path


def _lines(file: Path) -> list[str]:
    try:
        content = read_regular(file, TEXT_LIMIT)
    except FileRefusedError as error:
        raise PretrainError(f"{file}: {error}. Remove it to go on without it.") from None
    return [os.fsdecode(line) for line in content.splitlines()]
