# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images and labels as rows of the table: for `xmoco doctor --data` and for a run's labels."""

from pathlib import Path

from ..data.labelled_folder import find_labelled
from ..data.labelled_sets import split_classes, test_folder
from ..findings import Finding, some
from ..untrusted import printable
from .scan import Scan, describe

SHOWN = 10  # classes that a row shows


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


def _rows(root: Path, classes: list[str] | None, part: str) -> list[Finding]:
    found = find_labelled(str(root), classes)
    counts = some([f"{name} {n:,}" for name, n in found.counts.items()], SHOWN)
    text = f"{len(found.samples):,} images; {len(found.classes)} classes: {printable(counts)}"
    # Ten of a class beside one of another: a constant answer is right too often.
    return [
        Finding("ok", part, text),
        *(Finding("note", part, printable(text)) for text in found.left_out),
    ]
