# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""VOC's lists and annotations, looked at before a host parses them."""

import math
import os
import re
from collections.abc import Container, Iterator
from pathlib import Path
from typing import NamedTuple
from xml.etree import ElementTree

from .files import TEXT_LIMIT, FileRefusedError, read_regular
from .names import printable

XML_LIMIT = 16 << 20  # bytes; ours: a thousand times what an image with a hundred boxes has
DECLARATION = re.compile(rb"<\?xml.*?\?>", re.DOTALL)
ENCODING = re.compile(rb"encoding\s*=\s*[\"']([^\"']*)")
CORNERS = ("xmin", "ymin", "xmax", "ymax")


class VocBox(NamedTuple):
    """An object of an annotation.

    Attributes:
        name: Of its class.
        difficult: None where the file does not say.
        corners: left, top, right, bottom, in pixels from 1; None where there is no box.
    """

    name: str
    difficult: bool | None
    corners: tuple[float, float, float, float] | None


class VocImage(NamedTuple):
    """An annotation: the image's width and height, None where it does not say, and its objects."""

    size: tuple[int, int] | None
    boxes: list[VocBox]


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
    for name in voc_names(list_file):
        file = Path(annotations, f"{name.split()[0]}.xml") if name.split() else Path()
        if name.split() and os.path.lexists(file):
            _check(file, _read(file, XML_LIMIT))


def voc_names(list_file: str | Path) -> list[str]:
    """The lines of a list, as the hosts take them for names: blanks and empty ones too.

    Raises:
        FileRefusedError: It is no regular file or too large; names it.
    """
    return [os.fsdecode(line) for line in _read(Path(list_file), TEXT_LIMIT).splitlines()]


def voc_image(file: Path, learnt: Container[str] | None = None) -> VocImage:
    """Reads an annotation.

    Args:
        file: In XML.
        learnt: Classes; of objects of others, which the hosts pass over by their names, nothing
            else is read. None for all.

    Raises:
        FileRefusedError: As :func:`check_voc`, or it is no XML, or lacks what the hosts ask for;
            names the file.
    """
    content = _read(file, XML_LIMIT)
    _check(file, content)
    try:
        root = ElementTree.fromstring(content)
    except (ElementTree.ParseError, ValueError) as error:
        raise FileRefusedError(f"{printable(file)}: no XML: {printable(str(error))}") from None
    size = root.find("size")
    try:
        sides = None if size is None else tuple(int(_text(size, s)) for s in ("width", "height"))
        return VocImage(sides, [*_boxes(root, learnt)])  # type: ignore[arg-type]
    except ValueError as error:
        raise FileRefusedError(f"{printable(file)}: {printable(str(error))}") from None


def _boxes(root: ElementTree.Element, learnt: Container[str] | None) -> Iterator[VocBox]:
    for number, part in enumerate(root.findall("object"), 1):
        try:
            name = _text(part, "name")
            if learnt is not None and name not in learnt:
                yield VocBox(name, None, None)
                continue
            box = part.find("bndbox")
            corners = None if box is None else tuple(float(_text(box, key)) for key in CORNERS)
            if corners and not all(map(math.isfinite, corners)):
                raise ValueError(f"its corners are no numbers: {corners}")
            difficult = part.find("difficult")
            hard = None if difficult is None else bool(int(_text(part, "difficult")))
            yield VocBox(name, hard, corners)  # type: ignore[arg-type]
        except ValueError as error:
            raise ValueError(f"object {number}: {error}") from None


def _text(part: ElementTree.Element, name: str) -> str:
    found = part.findtext(name)
    if not found:
        raise ValueError(f"it has no <{name}>")
    return found


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
