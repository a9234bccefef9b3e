# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from collections import Counter
from collections.abc import Sequence

from mmengine.fileio import LocalBackend, get_file_backend
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from ..untrusted import walk_images
from ..untrusted.image_formats import ENDINGS

EXTENSIONS = ENDINGS


@DATASETS.register_module()
class UnlabeledFolder(CustomDataset):
    """Every image below a folder, without labels, in the order of their sorted paths.

    Subfolders are searched to any depth, links to folders are followed once; hidden files and
    folders (``._x.jpg``, ``.DS_Store``, ``.thumbnails``) are left out. What a file holds, and
    whether it is a file at all, is not checked here: that is the loading transform's part.

    Args:
        data_root (str): The folder; local, or of any of mmengine's file backends.
        data_prefix (str | dict): A folder below it. Defaults to ''.
        extensions (Sequence[str]): What counts as an image, in any case. Defaults to
            ``EXTENSIONS``.
        kwargs: Of mmpretrain's BaseDataset (``pipeline``, ``indices``, ...).

    Raises:
        FileNotFoundError: No such folder, or no image in it; the message counts what is there.
        NotADirectoryError: A file where a folder was meant.
        FolderError: A folder that cannot be read.
        ValueError: Neither ``data_root`` nor ``data_prefix``.
    """

    def __init__(
        self,
        data_root: str = "",
        data_prefix: str | dict = "",
        extensions: Sequence[str] = EXTENSIONS,
        **kwargs,
    ) -> None:
        if not data_root and not data_prefix:
            raise ValueError("UnlabeledFolder needs data_root: the folder that holds the images")
        super().__init__(
            data_root=os.path.expanduser(data_root),
            data_prefix=data_prefix,
            extensions=extensions,
            with_label=False,
            **kwargs,
        )

    def _find_samples(self) -> list[str]:
        return find_images(self.img_prefix, self.extensions)


def find_images(root: str, extensions: Sequence[str] = EXTENSIONS) -> list[str]:
    """Sorted paths, below a folder, of all its images; see :class:`UnlabeledFolder`.

    Raises:
        FileNotFoundError: No such folder, or no image in it; the message counts what is there.
        NotADirectoryError: A file where a folder was meant.
        FolderError: A folder that cannot be read.
    """
    root = root.rstrip("/") or "/"
    backend = get_file_backend(root, enable_singleton=True)
    if not backend.exists(root):
        raise FileNotFoundError(f"the folder {root} does not exist: check data_root")
    if not backend.isdir(root):
        raise NotADirectoryError(
            f"{root} is a file, not a folder: give data_root the folder that holds the images"
        )
    endings = tuple(ending.lower() for ending in extensions)
    if isinstance(backend, LocalBackend):
        samples, others = walk_images(root, endings)
    else:
        files = sorted(
            path
            for path in backend.list_dir_or_file(root, list_dir=False, recursive=True)
            if not any(part.startswith(".") for part in path.split("/"))
        )
        samples = [path for path in files if path.lower().endswith(endings)]
        others = [] if samples else files
    if not samples:
        raise FileNotFoundError(
            f"no images in {root}: {_count(others)}. Extensions looked for: "
            f"{' '.join(sorted(endings))}"
        )
    return samples


def _count(files: Sequence[str]) -> str:
    """Such as '312 files, none with an image extension: .txt 300, .csv 12'."""
    if not files:
        return "it holds no files (hidden ones aside)"
    kinds = Counter(os.path.splitext(path)[1].lower() or "no extension" for path in files)
    listed = ", ".join(f"{kind} {number:,}" for kind, number in kinds.most_common(5))
    more = f" and {len(kinds) - 5} more kinds" if len(kinds) > 5 else ""
    noun = "file" if len(files) == 1 else "files"
    return f"{len(files):,} {noun}, none with an image extension: {listed}{more}"
