# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images of a run that are there twice, exactly or nearly, in groups of small pictures."""

import csv
import io
import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from markupsafe import Markup
from PIL import Image, ImageOps

from ...untrusted import printable, read_regular
from ...untrusted.files import TEXT_LIMIT
from ...untrusted.image_file import FILE_LIMIT, open_image
from .figure import Figure, Table
from .thumbnails import SIDE, thumbnail
from .work_dir import WorkDir

FILES, DIGESTS, FOUND = "files.txt", "digests.txt", "duplicates.csv"  # of a run's folder
GROUPS, PICTURES = 12, 6  # that are shown, and of each (ours)
LISTED = 100  # groups of the table


class Copy(NamedTuple):
    """An image of a group.

    Attributes:
        path: Of the file.
        how: 'kept', 'exact' or 'near'.
    """

    path: str
    how: str


def twice_figure(run: WorkDir, number: int) -> Figure | None:
    """The groups that `xmoco duplicates` has found among a run's images, else equal files alone.

    Args:
        run: With ``files.txt``, and ``digests.txt`` or ``duplicates.csv``.
        number: Of the run in the page.

    Returns:
        A figure; None where no list is there, or no image is there twice.

    Raises:
        FileRefusedError: A list cannot be read.
    """
    if not (run.path / FILES).is_file():
        return None
    trained = _lines(run.path / FILES)
    looked = os.path.lexists(run.path / FOUND)
    if looked:
        groups = _of_table(run.path / FOUND, set(trained))
    elif (run.path / DIGESTS).is_file():
        groups = _of_digests(trained, _lines(run.path / DIGESTS))
    else:
        return None
    if not groups:
        return None
    groups.sort(key=len, reverse=True)  # the largest are worth a look first
    again = sum(len(group) - 1 for group in groups)
    caption = (
        f"{again:,} of {len(trained):,} images are another one"
        f"{', exactly or nearly' if looked else ', byte for byte'}, in {len(groups):,} groups; "
        f"shown are the first {PICTURES} of the {min(GROUPS, len(groups))} largest."
    )
    if not looked:
        caption += (
            " Near copies too: xmoco duplicates RUN/files.txt --out RUN/duplicates.csv, and the "
            "report again."
        )
    cells = [cell for i, group in enumerate(groups[:GROUPS]) for cell in _row(i, group)]
    body = Markup('<div class="near-grid" style="--columns:{}">{}</div>').format(
        PICTURES, Markup("").join(cells)
    )
    table = Table(
        ["group", "images", "files"],
        [
            [str(i), str(len(group)), ", ".join(printable(copy.path) for copy in group[:PICTURES])]
            for i, group in enumerate(groups[:LISTED], 1)
        ],
    )
    return Figure(
        f"twice-{number}",
        f"{run.name}: images that are there twice",
        body,
        caption,
        table,
        wide=True,
    )


def _of_digests(paths: Sequence[str], digests: Sequence[str]) -> list[list[Copy]]:
    """Files of equal content, in the order of the list."""
    found: dict[str, list[Copy]] = {}
    for path, digest in zip(paths, digests, strict=False):
        group = found.setdefault(digest, [])
        group.append(Copy(path, "exact" if group else "kept"))
    return [group for group in found.values() if len(group) > 1]


def _of_table(file: Path, trained: set[str]) -> list[list[Copy]]:
    """Groups of the csv of `xmoco duplicates`, of those images that were trained on."""
    text = read_regular(file, TEXT_LIMIT).decode("utf-8", "surrogateescape")
    found: dict[str, list[Copy]] = {}
    for row in csv.DictReader(io.StringIO(text, newline="")):
        group, path, how = row.get("group"), row.get("file"), row.get("how")
        if group and path in trained and how in ("kept", "exact", "near"):
            found.setdefault(group, []).append(Copy(str(path), str(how)))
    return [group for group in found.values() if len(group) > 1]


def _row(number: int, group: Sequence[Copy]) -> Iterator[Markup]:
    """The pictures of a group, and empty places up to the next row."""
    shown = group[:PICTURES]
    for copy in shown:
        name = printable(os.path.basename(copy.path))
        alt = f"Group {number + 1}: {copy.how}, {name}"
        kind = "query" if copy.how == "kept" else "near"
        text = f"{len(group):,} images: {name}" if copy is shown[0] else f"{copy.how}: {name}"
        pixels = _small(copy.path)
        picture = thumbnail(pixels, alt) if pixels is not None else Markup("<i>not readable</i>")
        yield Markup('<div class="{}">{}<span>{}</span></div>').format(kind, picture, text)
    for _ in range(PICTURES - len(shown)):
        yield Markup("<div></div>")


def _small(path: str) -> np.ndarray | None:
    """(H, W, 3) uint8 RGB, upright; None of a file that is gone or damaged since."""
    try:
        with open_image(read_regular(path, FILE_LIMIT)) as image:
            image.draft("RGB", (2 * SIDE, 2 * SIDE))
            upright = ImageOps.exif_transpose(image)
            if upright.mode.startswith("I") or upright.mode == "F":  # 12 and 16 bit
                values = np.asarray(upright, dtype=np.float64)
                top = max(float(values.max()), 1.0)
                upright = Image.fromarray((255 * values.clip(0) / top).astype(np.uint8))
            small = upright.convert("RGB")
            small.thumbnail((SIDE, SIDE))
            return np.asarray(small)
    except MemoryError:
        raise
    except Exception:  # nearly any, of Pillow's readers
        return None


def _lines(file: Path) -> list[str]:
    return [os.fsdecode(line) for line in read_regular(file, TEXT_LIMIT).splitlines()]
