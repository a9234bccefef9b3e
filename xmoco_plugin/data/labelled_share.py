# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import hashlib
import os
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from mmengine.dataset import BaseDataset
from mmpretrain.registry import DATASETS

from ..untrusted import FileRefusedError, read_regular
from ..untrusted.files import TEXT_LIMIT


@DATASETS.register_module()
class LabelledShare:
    """A few percent of a labelled set, for semi-supervised protocols: the same on every machine.

    Of each class its share, rounded and at least one image: those whose names come first when
    sorted by their SHA-256. No generator makes the choice, so it is the same for every version and
    platform, and the 1 % lie within the 10 %. A file's name is its name without folders; an image
    without a file is named by its place in the set. Or, where there is one, the images that a list
    names, one file name a line, such as SimCLR's 1percent.txt and 10percent.txt (arXiv 2002.05709).

    Args:
        dataset: a data set or its config; every sample has one ``gt_label``. It is cut down itself.
        percent: of each class, in (0, 100].
        rest: take the other images instead: with the same percent, what a share leaves over.
        files: a text file, which then decides alone. Every name in it must be in the set, and no
            two images may share one.

    Raises:
        ValueError: percent out of range; samples without one label; names that are missing or not
            unique.
        FileNotFoundError: no such list.
    """

    def __init__(
        self,
        dataset: dict | BaseDataset,
        percent: float = 100,
        files: str | None = None,
        rest: bool = False,
    ) -> None:
        if not 0 < percent <= 100:
            raise ValueError(f"LabelledShare takes a percent above 0 and up to 100, not {percent}")
        self.dataset = DATASETS.build(dataset) if isinstance(dataset, dict) else dataset
        self.dataset.full_init()
        infos = [_info(self.dataset, row) for row in range(len(self.dataset))]
        names = [Path(info.get("img_path") or str(i)).name for i, info in enumerate(infos)]
        if files is not None:
            rows = _named_rows(names, Path(files).expanduser())
        else:
            rows = hash_share([info.get("gt_label") for info in infos], names, percent)
        if rest:
            rows = sorted(set(range(len(self.dataset))) - set(rows))
            if not rows:
                raise ValueError(f"{percent:g} % of each class leave no image over")
        self.dataset.get_subset_(rows)

    @property
    def metainfo(self) -> dict:
        """The whole set's."""
        return self.dataset.metainfo

    def full_init(self) -> None:
        """Done already."""

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, idx: int) -> dict:
        return self.dataset[idx]

    def get_data_info(self, idx: int) -> dict:
        """As of the whole set."""
        return self.dataset.get_data_info(idx)


def _info(dataset: BaseDataset, row: int) -> dict:
    """What a data set knows of an image, without its pixels where they can be left out."""
    if not dataset.serialize_data and not isinstance(dataset.data_list[row], dict):
        return dataset.get_data_info(row)  # its list is in a form of its own, as a pack's is
    # mmengine's own: what a data set adds to it, such as NpzImages its pixels, is not needed here.
    return BaseDataset.get_data_info(dataset, row)


def hash_share(labels: Sequence[int | None], names: Sequence[str], percent: float) -> list[int]:
    """Rows of each class's share, rising.

    Args:
        labels: of each image.
        names: of each image.
        percent: in (0, 100].
    """
    by_class = defaultdict(list)
    for row, (label, name) in enumerate(zip(labels, names, strict=True)):
        if not isinstance(label, int):
            raise ValueError(f"a share of each class needs one label per image; {name} has {label}")
        by_class[label].append((hashlib.sha256(os.fsencode(name)).hexdigest(), row))
    return sorted(
        row
        for ranked in by_class.values()
        for _, row in sorted(ranked)[: max(1, round(len(ranked) * percent / 100))]
    )


def _named_rows(names: Sequence[str], list_file: Path) -> list[int]:
    if not os.path.lexists(list_file):
        raise FileNotFoundError(f"there is no list of file names {list_file}")
    try:
        content = read_regular(list_file, TEXT_LIMIT)
    except FileRefusedError as error:
        raise ValueError(f"the list of file names {list_file} cannot be read: {error}") from error
    lines = [os.fsdecode(line.strip()) for line in content.splitlines()]
    wanted = [Path(line).name for line in lines if line]
    rows = {name: row for row, name in enumerate(names)}
    missing = [name for name in wanted if name not in rows]
    if not wanted or missing:
        raise ValueError(
            f"{list_file} names {len(wanted)} images, {len(missing)} of them not in the set"
            + (f", such as {missing[0]}" if missing else "")
        )
    if len(rows) < len(names) or len(set(wanted)) < len(wanted):
        raise ValueError(f"{list_file}: file names are not unique, in it or in the set")
    return sorted(rows[name] for name in wanted)
