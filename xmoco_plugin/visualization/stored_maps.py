# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The similarity maps that RunSummaryHook keeps beside its summary."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from ..untrusted import FileRefusedError, open_regular
from ..untrusted.files import size_text

LIMIT = 64 << 20  # bytes, packed or not (ours): two maps of 64 images have 33,000
NAMES = ("before", "after")


def read_maps(path: str | Path) -> dict[str, np.ndarray]:
    """Maps (N, N) of finite cosines 'before' and 'after', and their rows' 'labels' (N,) or (0,).

    Raises:
        FileRefusedError: It is no regular file, too large, or holds something else.
    """
    try:
        with open_regular(path, LIMIT) as file:
            with zipfile.ZipFile(file) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > LIMIT:
                raise FileRefusedError(
                    f"{size_text(size)} unpacked, the limit is {size_text(LIMIT)}"
                )
            file.seek(0)
            with np.load(file, allow_pickle=False) as arrays:
                found = {name: arrays[name] for name in (*NAMES, "labels") if name in arrays}
    except FileRefusedError:
        raise
    except (OSError, ValueError, EOFError, KeyError, TypeError, MemoryError) as error:
        raise FileRefusedError(f"no arrays of numpy: {_line(error)}") from None
    except (zipfile.BadZipFile, zlib.error, NotImplementedError, RuntimeError) as error:
        raise FileRefusedError(f"no arrays of numpy: {_line(error)}") from None
    maps = {name: found[name] for name in NAMES if name in found}
    labels = found.setdefault("labels", np.empty(0, dtype=np.int64))
    for name, values in maps.items():
        if values.dtype.kind != "f" or values.ndim != 2 or len(set(values.shape)) > 1:
            raise FileRefusedError(
                f"no maps of similarity: {name!r} is {values.dtype} {values.shape}"
            )
        if not np.isfinite(values).all():
            raise FileRefusedError(f"{name!r} holds NaN or infinity")
    sizes = {len(values) for values in maps.values()}
    fits = labels.ndim == 1 and (labels.dtype.kind in "iu" or not len(labels))
    if not fits or (len(labels) and sizes - {len(labels)}):
        raise FileRefusedError(f"no maps of similarity: 'labels' is {labels.dtype} {labels.shape}")
    return found


def _line(error: BaseException) -> str:
    text = str(error).strip() or type(error).__name__
    return text.splitlines()[0][:100]
