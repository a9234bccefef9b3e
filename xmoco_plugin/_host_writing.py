# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the host writes on this machine's disks is written whole or not at all."""

from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend

from .checkpoint import write_atomic


class WholeLocalBackend(LocalBackend):
    """The host's backend of local files, which writes to the final name in place."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes; a folder that is not there is made, as the host does."""
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomic(obj, path, save=lambda data, file: file.write(data))

    def put_text(self, obj: str, filepath: str | Path, encoding: str = "utf-8") -> None:
        """Write a text, as :meth:`put`."""
        self.put(obj.encode(encoding), filepath)


def write_for_the_host() -> None:
    """Put our backend in the place of mmengine's local one. May be called twice.

    Every checkpoint of mmengine, mmpretrain, mmdet and mmseg goes through it.
    """
    register_backend("local", WholeLocalBackend, prefixes="", force=True)
