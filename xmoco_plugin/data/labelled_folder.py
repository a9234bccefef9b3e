# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from collections.abc import Sequence

from mmengine.logging import MMLogger
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from .unlabeled_folder import EXTENSIONS, find_images


@DATASETS.register_module()
class LabelledFolder(CustomDataset):
    """The images of a folder that has a folder for each class, by the walk of `UnlabeledFolder`.

    The host's ``CustomDataset``, but for what is found: every format that is read, nothing hidden,
    links to folders once; and what has an image's name and is no file is listed, so that reading
    it names it.

    Args:
        data_root (str): The folder.
        extensions (Sequence[str]): What counts as an image. Defaults to ``EXTENSIONS``.
        kwargs: Of mmpretrain's BaseDataset (``pipeline``, ``indices``, ...).

    Raises:
        FileNotFoundError: No such folder, or no image in it.
        ValueError: No folder in it.
    """

    def __init__(
        self, data_root: str = "", extensions: Sequence[str] = EXTENSIONS, **kwargs
    ) -> None:
        super().__init__(data_root=os.path.expanduser(data_root), extensions=extensions, **kwargs)

    def _find_samples(self) -> list[tuple[str, int]]:
        root = self.img_prefix
        paths = find_images(root, self.extensions)
        named = sorted(
            e.name for e in os.scandir(root) if e.is_dir() and not e.name.startswith(".")
        )
        if not named:
            raise ValueError(f"{root}: no folder in it, and each class needs one")
        classes = self._metainfo.setdefault("classes", tuple(named))
        if len(classes) != len(named):
            raise ValueError(f"{root} has {len(named)} folders for {len(classes)} classes")
        self.folder_to_idx = {name: label for label, name in enumerate(named)}
        samples = [
            (path, self.folder_to_idx[path.split(os.sep)[0]]) for path in paths if os.sep in path
        ]
        loose = len(paths) - len(samples)
        empty = sorted(set(range(len(named))) - {label for _, label in samples})
        log = MMLogger.get_current_instance()
        if loose:
            log.warning(f"{root}: left out {loose:,} images that lie in no class's folder")
        if empty:
            log.warning(f"{root}: no image of {', '.join(named[label] for label in empty)}")
        return samples
