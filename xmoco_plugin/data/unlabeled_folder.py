# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from collections.abc import Sequence

from mmengine.fileio import LocalBackend, get_file_backend
from mmpretrain.datasets import CustomDataset
from mmpretrain.registry import DATASETS

from ..untrusted import count_endings, is_hidden, walk_images
from ..untrusted.image_formats import ENDINGS

EXTENSIONS = ENDINGS


@DATASETS.register_module()
class UnlabeledFolder(CustomDataset):
    """Every image below a folder, without labels, in the order of their sorted paths.

    Subfolders are searched to any depth, links to folders are followed once; hidden files and
    folders (``._x.jpg``, ``.DS_Store``, ``.thumbnails``) and those of systems (``@eaDir``,
    ``__MACOSX``) are left out. An image is what has an image's name, and what holds one by its
    first bytes under any other name. What is wrong with a file that has the name, and whether it is
    a file at all, is not checked here: that is the loading transform's part.

    Args:
        data_root (str): The folder; local, or of any of mmengine's file backends.
        data_prefix (str | dict): A folder below it. Defaults to ''.
        extensions (Sequence[str], optional): What alone counts as an image, in any case. Defaults
            to None: ``EXTENSIONS``, and what holds an image under another name.
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
        extensions: Sequence[str] | None = None,
        **kwargs,
    ) -> None:
        self._by_content = extensions is None
        if not data_root and not data_prefix:
            raise ValueError("UnlabeledFolder needs data_root: the folder that holds the images")
        super().__init__(
            data_root=os.path.expanduser(data_root),
            data_prefix=data_prefix,
            extensions=EXTENSIONS if extensions is None else extensions,
            with_label=False,
            **kwargs,
        )

    def _find_samples(self) -> list[str]:
        return find_images(self.img_prefix, None if self._by_content else self.extensions)


def find_images(
    root: str, extensions: Sequence[str] | None = None, others: list[str] | None = None
) -> list[str]:
    """Sorted paths, below a folder, of all its images; see :class:`UnlabeledFolder`.

    Args:
        root: The folder.
        extensions: As there.
        others: Gets the sorted paths of what is no image.

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
    asked = None if extensions is None else tuple(ending.lower() for ending in extensions)
    if isinstance(backend, LocalBackend):
        samples, left = walk_images(root, asked)
    else:
        files = sorted(
            path
            for path in backend.list_dir_or_file(root, list_dir=False, recursive=True)
            if not any(map(is_hidden, path.split("/")))
        )
        named = asked or EXTENSIONS
        samples = [path for path in files if path.lower().endswith(named)]
        left = [path for path in files if not path.lower().endswith(named)]
    if not samples:
        raise FileNotFoundError(
            f"no images in {root}: {_count(left)}. Extensions looked for: "
            f"{' '.join(sorted(asked or EXTENSIONS))}"
        )
    if others is not None:
        others += left
    return samples


def _count(files: Sequence[str]) -> str:
    """Such as '312 files, none with an image extension: .txt 300, .csv 12'."""
    if not files:
        return "it holds no files (hidden ones aside)"
    noun = "file" if len(files) == 1 else "files"
    return f"{len(files):,} {noun}, none with an image extension: {count_endings(files)}"
