# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""`xmoco doctor --data`: looks at a folder as training would, for whatever stage it is laid out."""

import argparse
import tempfile
from pathlib import Path

from mmengine.registry import init_default_scope
from mmpretrain.datasets.categories import VOC2007_CATEGORIES

from xmoco_plugin import pretraining as own
from xmoco_plugin.cli import data_table
from xmoco_plugin.cli.pretrain_data import look_for_training
from xmoco_plugin.data.labelled_sets import test_folder
from xmoco_plugin.downstream import survey_folder
from xmoco_plugin.findings import Finding
from xmoco_plugin.untrusted import folders_in


def main(args: argparse.Namespace) -> None:
    """Prints the table.

    Raises:
        SystemExit: Status 1, where a row must be mended.
    """
    init_default_scope("mmpretrain")
    try:
        found = survey(args.data)
    except (own.PretrainError, OSError, ValueError) as error:
        found = [Finding("MEND", "data", str(error))]
    data_table.show(found, Path(args.out).expanduser() if args.out else None)
    if any(row.state == "MEND" for row in found):
        raise SystemExit(1)


def survey(data: str) -> list[Finding]:
    """Rows for boxes or masks, for labels, or for images alone.

    Raises:
        PretrainError: Sources that cannot be read.
        FileNotFoundError: Nothing is there.
        ValueError: Folders of classes that do not fit.
    """
    root = Path(data).expanduser()
    if root.suffix == ".npz" and root.is_file():
        return own.survey_npz(root)
    if wrong := own.check_source(data):
        raise own.PretrainError(wrong)
    if root.is_dir():
        if (root / "train.npz").is_file():
            return own.survey_npz(root)
        if (found := survey_folder(root, VOC2007_CATEGORIES)) is not None:
            return found
    with tempfile.TemporaryDirectory() as cache:
        notes: list[str] = []
        paths = own.list_images([data], Path(cache, "unpacked"), notes=notes)
        scan = look_for_training(paths, Path(cache), {})
        scan.notes = notes
        rows = own.survey_images(scan)
        labelled = root.is_dir() and (test_folder(root) if (root / "train").is_dir() else None)
        classes = folders_in(root) if root.is_dir() else []
        if labelled or (len(classes) > 1 and set(classes) & {"train", "val", "test"} == set()):
            rows += own.survey_labels(root)
        elif scan.good:
            try:
                own.check_number(scan)
            except own.PretrainError as error:
                rows.append(Finding("MEND", "images", str(error)))
        return rows
