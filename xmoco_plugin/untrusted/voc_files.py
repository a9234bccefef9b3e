# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""VOC's lists and annotations, looked at before a host parses them."""

import os
import re
from pathlib import Path

from .files import TEXT_LIMIT, FileRefusedError, read_regular

XML_LIMIT = 16 << 20  # bytes; ours: a thousand times what an image with a hundred boxes has
DECLARATION = re.compile(rb"<\?xml.*?\?>", re.DOTALL)
ENCODING = re.compile(rb"encoding\s*=\s*[\"']([^\"']*)")


def check_voc(list_file: str | Path, annotations: str | Path) -> None:
    """Checks that a list is a text and that the annotation of each name in it may be parsed.

    Args:
        list_file: A name a line, without ending.
        annotations: Folder of the XML files. Those that are not there are left to the host.

    Raises:
        FileRefusedError: The list or an annotation is no regular file or too large, or an
            annotation declares entities, by which a small file grows without end, or is in another
            encoding than UTF-8, in which they do not show; names the file.
    """
    for line in _read(Path(list_file), TEXT_LIMIT).splitlines():
        name = os.fsdecode(line.split()[0]) if line.split() else ""
        file = Path(annotations, f"{name}.xml")
        if name and os.path.lexists(file):
            _check(file, _read(file, XML_LIMIT))


def _check(file: Path, content: bytes) -> None:
    declared = DECLARATION.search(content)
    encoding = ENCODING.search(declared[0]) if declared else None
    kind = encoding[1].lower() if encoding else b"utf-8"
    if b"\0" in content or kind not in (b"utf-8", b"utf8", b"ascii", b"us-ascii"):
        raise FileRefusedError(f"{file}: it is not UTF-8, as annotations must be; convert it")
    if b"<!" in content.replace(b"<!--", b""):
        raise FileRefusedError(f"{file}: it declares a type or entities; annotations need none")


def _read(file: Path, limit: int) -> bytes:
    try:
        return read_regular(file, limit)
    except FileRefusedError as error:
        raise FileRefusedError(f"{file}: {error}") from None
