# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from mmengine.logging import MMLogger
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from ..untrusted import count_endings, folders_in, printable
from .unlabeled_folder import EXTENSIONS, find_images


@DATASETS.register_module()
class LabelledFolder(CustomDataset):
    """The images of a folder that has a folder for each class, by the walk of `UnlabeledFolder`.

    The host's ``CustomDataset``, but for what is found: every format that is read, whatever its
    name; nothing hidden; links to folders once; and what has an image's name and is no file is
    listed, so that reading it names it. A class is known by its folder's name: with ``classes``,
    which two sets that belong together share, its number is its place there, and a folder may be
    absent.

    Args:
        data_root (str): The folder.
        extensions (Sequence[str], optional): What alone counts as an image. Defaults to None, as
            in ``UnlabeledFolder``.
        kwargs: Of mmpretrain's BaseDataset (``pipeline``, ``classes``, ``indices``, ...). Classes
            default to the sorted names of the folders.

    Raises:
        FileNotFoundError: No such folder, or no image in it.
        ValueError: No folder in it, or one that is none of the classes.
    """

    def __init__(
        self, data_root: str = "", extensions: Sequence[str] | None = None, **kwargs
    ) -> None:
        self._by_content = extensions is None
        super().__init__(
            data_root=os.path.expanduser(data_root), extensions=extensions or EXTENSIONS, **kwargs
        )

    def _find_samples(self) -> list[tuple[str, int]]:
        root = self.img_prefix
        endings = None if self._by_content else self.extensions
        found = find_labelled(root, self._metainfo.get("classes"), endings)
        self._metainfo["classes"] = found.classes
        self.folder_to_idx = {name: label for label, name in enumerate(found.classes)}
        self.counts = found.counts
        log = MMLogger.get_current_instance()
        for text in found.left_out:
            log.warning(f"{root}: {text}")
        return found.samples


class Labelled(NamedTuple):
    """What a folder with a folder for each class holds.

    Attributes:
        samples: Paths below the folder, and labels.
        classes: By their numbers.
        counts: Images of each class.
        left_out: What of the folder is not used, in sentences.
    """

    samples: list[tuple[str, int]]
    classes: tuple[str, ...]
    counts: Counter[str]
    left_out: list[str]


def find_labelled(
    root: str, classes: Sequence[str] | None = None, extensions: Sequence[str] | None = None
) -> Labelled:
    """Finds the images of a folder with a folder for each class; see :class:`LabelledFolder`.

    Raises:
        FileNotFoundError: No such folder, or no image in it.
        ValueError: No folder in it, or one that is none of the classes.
    """
    others: list[str] = []
    paths = find_images(root, extensions, others)
    named = folders_in(root)
    if not named:
        raise ValueError(f"{root}: no folder in it, and each class needs one")
    known = tuple(classes or named)
    if odd := [name for name in named if name not in known]:
        raise ValueError(
            f"{root} has {len(named)} folders for {len(known)} classes, and {_some(odd)} "
            f"{'are' if len(odd) > 1 else 'is'} none of them: {_some(known)}"
        )
    label = {name: number for number, name in enumerate(known)}
    samples = [(path, label[path.split(os.sep)[0]]) for path in paths if os.sep in path]
    counts = Counter(dict.fromkeys(known, 0))
    counts.update(known[number] for _, number in samples)
    left_out = []
    if loose := len(paths) - len(samples):
        left_out.append(f"left out {loose:,} images that lie in no class's folder")
    if others:
        left_out.append(f"{len(others):,} files are no images: {count_endings(others)}")
    if empty := [name for name, count in counts.items() if not count]:
        left_out.append(f"no image of {_some(empty)}")
    return Labelled(samples, known, counts, left_out)


def _some(names: Sequence[str], most: int = 10) -> str:
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return printable(", ".join(names[:most])) + more
