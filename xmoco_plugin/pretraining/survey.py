# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images and labels as rows of the table: for `xmoco doctor --data` and for a run's labels."""

import hashlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from ..data import NpzImages
from ..data.labelled_folder import find_labelled
from ..data.labelled_sets import split_classes, test_folder
from ..findings import Finding, some
from ..untrusted import printable
from .pixels import DARK
from .scan import Scan, describe

SHOWN = 10  # classes that a row shows
SPLITS = ("train", "val", "test")


def survey_labels(labels: str | Path, part: str = "labels") -> list[Finding]:
    """Classes with counts, and what is left out, of a folder as ``--labels`` takes it.

    Raises:
        FileNotFoundError: No image in it.
        ValueError: No folders of classes, or other ones in val/ than in train/.
    """
    root = Path(labels).expanduser()
    test = test_folder(root) if (root / "train").is_dir() else None
    if test is None:
        return _rows(root, None, part)
    classes = split_classes(root / "train", test)
    return [*_rows(root / "train", classes, "train"), *_rows(test, classes, test.name)]


def survey_images(found: Scan, part: str = "images") -> list[Finding]:
    """What a scan found, and whose files are left out."""
    rows = [Finding("ok", part, text) for text in describe(found)]
    if found.bad:
        names = tuple(f"{printable(path)}: {reason}" for path, reason in found.bad)
        rows.append(
            Finding(
                "note",
                part,
                f"{len(found.bad):,} file{'s' * (len(found.bad) > 1)} cannot be read",
                names,
            )
        )
    return rows


def survey_npz(root: str | Path) -> list[Finding]:
    """What numpy archives hold, as `NpzImages` reads them.

    Args:
        root: An archive, or a folder of them, where another than train, val and test may be no set
            of images.
    """
    root, rows = Path(root).expanduser(), []
    found = [root] if root.is_file() else root.glob("*.npz")
    seen: dict[str, set[int]] = {}
    for archive in sorted(found, key=lambda file: (file.stem != "train", file.stem)):
        part = printable(archive.stem)
        meant = archive == root or part in SPLITS
        try:
            images = NpzImages(str(archive.parent), archive.stem, pipeline=[])
        except (ValueError, OSError) as error:
            rows.append(Finding("MEND" if meant else "note", part, printable(str(error))))
            continue
        labels = Counter(() if images.arrays[1] is None else images.arrays[1].tolist())
        rows += _npz_rows(images, labels, part)
        seen[part] = set(labels)
        if odd := sorted(seen[part] - seen.get("train", seen[part])):
            text = f"labels that train.npz has no image of: {some(odd, SHOWN)}"
            rows.append(Finding("MEND" if meant else "note", part, text))
    return rows


def _npz_rows(images: NpzImages, labels: Counter[int], part: str) -> Iterator[Finding]:
    array, _ = images.arrays
    text = f"{len(array):,} images of {array.shape[2]}x{array.shape[1]} px"
    if not labels:
        yield Finding("ok", part, f"{text}, without labels")
    else:
        names = images.metainfo["classes"]
        counts = some([f"{printable(n)} {labels[i]:,}" for i, n in enumerate(names)], SHOWN)
        yield Finding("ok", part, f"{text}; {len(names)} classes: {counts}")
        if absent := tuple(printable(n) for i, n in enumerate(names) if not labels[i]):
            yield Finding("note", part, f"no image of {len(absent)} classes", absent)
    tops = array.max(axis=(1, 2, 3))
    yield Finding(
        "ok", part, f"values: {array.min()} to {tops.max()} of 255, mean {array.mean():.0f}"
    )
    if dark := int((tops < DARK).sum()):
        text = f"{dark:,} of {len(array):,} images are dark: no value above {DARK - 1} of 255"
        yield Finding("note", part, text)
    same = len(array) - len({hashlib.blake2b(row.tobytes()).digest() for row in array})
    if same:
        yield Finding("note", part, f"{same:,} of {len(array):,} images are the same as another")


def _rows(root: Path, classes: list[str] | None, part: str) -> list[Finding]:
    found = find_labelled(str(root), classes)
    counts = some([f"{name} {n:,}" for name, n in found.counts.items()], SHOWN)
    text = f"{len(found.samples):,} images; {len(found.classes)} classes: {printable(counts)}"
    # Ten of a class beside one of another: a constant answer is right too often.
    return [
        Finding("ok", part, text),
        *(Finding("note", part, printable(text)) for text in found.left_out),
    ]
