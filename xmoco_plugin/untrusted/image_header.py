# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What stands before an image's pixels, judged before Pillow reads it.

Pillow joins comments and Exif part by part, in the square of their number, and reads some headers
byte by byte: a file of some ten MB with nothing but comments takes it minutes.
"""

import re
from typing import BinaryIO

from .files import FileRefusedError, size_text

# Ours: a photograph's metadata with a depth map in them have a tenth of both.
METADATA_LIMIT = 32 << 20  # bytes
COMMENT_LIMIT = 1 << 20  # bytes, where parts have 255 of them
MOST_PARTS = 1000
PPM_HEADER = 1 << 16  # bytes
_COMMENT = re.compile(rb"#[^\r\n]*[\r\n]?")


def check_header(name: str, stream: BinaryIO) -> None:
    """Judges what stands before the pixels; what is damaged is left to the decoder.

    Args:
        name: Of the format.
        stream: The file, at its start, where it is put back.

    Raises:
        FileRefusedError: More metadata than any image has.
    """
    look = {"GIF": _gif, "PPM": _ppm, "PNG": _png, "JPEG": _jpeg}.get(name)
    if look is not None:
        look(stream)
        stream.seek(0)


class _Parts:
    """Counts parts and their bytes."""

    def __init__(self, limit: int = METADATA_LIMIT, most: int = MOST_PARTS) -> None:
        self.limit, self.most = limit, most
        self.count = self.bytes = 0

    def add(self, size: int) -> None:
        self.count += 1
        self.bytes += size
        if self.bytes > self.limit:
            raise FileRefusedError(
                f"more than {size_text(self.limit)} of metadata before its pixels"
            )
        if self.count > self.most:
            raise FileRefusedError(f"more than {self.most:,} parts before its pixels")


def _jpeg(stream: BinaryIO) -> None:
    parts = _Parts()
    stream.seek(2)
    while len(head := stream.read(4)) == 4 and head[0] == 0xFF:
        if head[1] == 0xDA:
            return
        if head[1] in (0x00, 0x01, 0xFF) or 0xD0 <= head[1] <= 0xD9:  # without a length
            size = 0
            stream.seek(-3 if head[1] == 0xFF else -2, 1)
        else:
            size = int.from_bytes(head[2:], "big")
            stream.seek(max(size - 2, 0), 1)
        parts.add(size)


def _png(stream: BinaryIO) -> None:
    parts = _Parts()
    stream.seek(8)
    while len(head := stream.read(8)) == 8 and head[4:] != b"IDAT":
        size = int.from_bytes(head[:4], "big")
        parts.add(size)
        stream.seek(size + 4, 1)


def png_exif(stream: BinaryIO) -> bytes:
    """Exif of a PNG as Pillow takes it, or nothing; also where it stands behind the pixels.

    Pillow decodes the pixels to look behind them, and reads as much as a last part claims to have.
    """
    stream.seek(8)
    while len(head := stream.read(8)) == 8 and head[4:] != b"IEND":
        size = int.from_bytes(head[:4], "big")
        if head[4:] == b"eXIf":
            return b"Exif\0\0" + stream.read(min(size, METADATA_LIMIT))
        stream.seek(size + 4, 1)
    return b""


def _gif(stream: BinaryIO) -> None:
    head = stream.read(13)
    if len(head) < 13:
        return
    if head[10] & 0x80:
        stream.seek(3 << ((head[10] & 7) + 1), 1)
    parts = _Parts(COMMENT_LIMIT, COMMENT_LIMIT)
    while stream.read(1) == b"!":
        stream.read(1)
        while size := stream.read(1):
            parts.add(size[0])
            if size == b"\0":
                break
            stream.seek(size[0], 1)


def _ppm(stream: BinaryIO) -> None:
    head = stream.read(PPM_HEADER)
    tokens = 3 if head[1:2] in b"14" else 4
    if len(head) == PPM_HEADER and len(_COMMENT.sub(b" ", head).split(None, tokens)) <= tokens:
        raise FileRefusedError(f"a header of more than {size_text(PPM_HEADER)}")
