# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
from collections.abc import Sequence
from typing import Any

from mmengine.fileio import LocalBackend, get_file_backend
from mmengine.logging import MMLogger
from mmpretrain.datasets import CustomDataset
from mmpretrain.datasets.transforms import PackInputs
from mmpretrain.registry import DATASETS

from ..untrusted import count_endings, is_hidden, printable, walk_images
from ..untrusted.image_formats import ENDINGS

EXTENSIONS = ENDINGS
# Settings with which a host's LoadImageFromFile reads as LoadImageOrSkip does.
PLAIN = {"type", "_scope_", "backend_args"}


@DATASETS.register_module()
class UnlabeledFolder(CustomDataset):
    """Every image below a folder, without labels, in the order of their sorted paths.

    Subfolders are searched to any depth, links to folders are followed once; hidden files and
    folders (``._x.jpg``, ``.DS_Store``, ``.thumbnails``) and those of systems (``@eaDir``,
    ``__MACOSX``) are left out. An image is what has an image's name, and what holds one by its
    first bytes under any other name. A host's plain ``LoadImageFromFile`` in the pipeline becomes
    ``LoadImageOrSkip``: a file that cannot be read ends no training, another is drawn in its place
    and the log names it. What is wrong with a file that has the name, and whether it is
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
        self._told: set[str] = set()  # in this process
        pipeline = kwargs.pop("pipeline", ())
        kwargs["pipeline"] = tolerant(pipeline, kwargs.get("test_mode", False))
        self._tells = kwargs["pipeline"] != list(pipeline)
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
        endings = None if self._by_content else self.extensions
        return find_images(self.img_prefix, endings, hint=": check data_root")

    def prepare_data(self, idx: int) -> dict | None:
        """A sample through the pipeline; None for a file that cannot be read, which is named."""
        data = super().prepare_data(idx)
        sample = data.get("data_samples") if isinstance(data, dict) else None
        for path, reason in getattr(sample, "metainfo", {}).get("skipped", ()):
            if self._tells and path not in self._told:
                self._told.add(path)
                MMLogger.get_current_instance().warning(
                    f"skipped an unreadable image: {printable(path)}: {reason}"
                )
        return data


def tolerant(pipeline: Sequence[Any], test_mode: bool = False) -> list[Any]:
    """A pipeline in which a host's plain ``LoadImageFromFile`` is ``LoadImageOrSkip``.

    What was skipped is packed, and a check before it, which the loader makes itself, is left out.

    Args:
        pipeline: Configs of transforms, or transforms.
        test_mode: No image may be replaced: one that cannot be read ends the run by its name.
    """
    names = [_name_of(step) for step in pipeline]
    place = names.index("LoadImageFromFile") if "LoadImageFromFile" in names else None
    steps = [dict(step) if isinstance(step, dict) else step for step in pipeline]
    if place is None or not isinstance(steps[place], dict) or set(steps[place]) - PLAIN:
        return steps
    read: dict[str, Any] = dict(type="LoadImageOrSkip", on_error="raise" if test_mode else "skip")
    if steps[place].get("backend_args"):
        read["backend_args"] = steps[place]["backend_args"]
    before = steps[:place]
    if before and names[place - 1] == "CheckImageFile" and isinstance(before[-1], dict):
        limits = before.pop()
        read |= {key: limits[key] for key in ("max_pixels", "max_bytes") if key in limits}
    for step, name in zip(steps, names, strict=True):
        if name == "PackInputs" and isinstance(step, dict):
            keys = step.get("meta_keys", PackInputs.DEFAULT_META_KEYS)
            step["meta_keys"] = tuple(dict.fromkeys((*keys, "skipped")))
    return [*before, read, *steps[place + 1 :]]


def _name_of(step: Any) -> str:
    kind = step.get("type") if isinstance(step, dict) else type(step)
    return str(getattr(kind, "__name__", kind)).split(".")[-1]


def find_images(
    root: str,
    extensions: Sequence[str] | None = None,
    others: list[str] | None = None,
    hint: str = "",
) -> list[str]:
    """Sorted paths, below a folder, of all its images; see :class:`UnlabeledFolder`.

    Args:
        root: The folder.
        extensions: As there.
        others: Gets the sorted paths of what is no image.
        hint: What the message of a missing folder ends with.

    Raises:
        FileNotFoundError: No such folder, or no image in it; the message counts what is there.
        NotADirectoryError: A file where a folder was meant.
        FolderError: A folder that cannot be read.
    """
    root = root.rstrip("/") or "/"
    backend = get_file_backend(root, enable_singleton=True)
    if not backend.exists(root):
        raise FileNotFoundError(f"the folder {root} does not exist{hint}")
    if not backend.isdir(root):
        raise NotADirectoryError(
            f"{root} is a file, not a folder: name the folder that holds the images"
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
