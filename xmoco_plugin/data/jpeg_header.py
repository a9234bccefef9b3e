# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the markers of a JPEG say, without decoding it (ITU-T T.81, annex B; TIFF 6.0 for Exif)."""

from typing import Literal

_START, _END = b"\xff\xd8", b"\xff\xd9"
_BASELINE = 0xC0  # SOF0; the others are progressive, lossless, arithmetic ...
_OTHER_FRAMES = {0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_SCAN, _APP1, _ADOBE = 0xDA, 0xE1, 0xEE
_YCBCR_IDS = (1, 2, 3)
_SAMPLING = {0x11, 0x21, 0x22}  # of the luma: 4:4:4, 4:2:2, 4:2:0; the chroma has 1x1
_EXIF = 6  # where its TIFF header begins, from which its addresses count
_BYTE_ORDERS: dict[bytes, Literal["little", "big"]] = {
    b"Exif\0\0II*\0": "little",
    b"Exif\0\0MM\0*": "big",
}
_ORIENTATION, _AS_STORED = 0x0112, 1
_INTEGERS = {3: 2, 4: 4}  # bytes of a SHORT and a LONG; Pillow turns by either


def plain_jpeg_size(content: bytes) -> tuple[int, int] | None:
    """(H, W) of a JPEG that every decoder reads alike; None for any other content.

    Plain is a whole file, baseline, 8 bits, three YCbCr channels with usual sampling in one scan,
    without metadata about how to turn it, or that might be and cannot be read. None is no verdict
    on the file: a decoder that knows more may read it, or say what is wrong with it.

    Args:
        content: the file, from its first byte.
    """
    if not content.startswith(_START):
        return None
    size: tuple[int, int] | None = None
    place = 2
    while place + 4 <= len(content):
        if content[place] != 0xFF:
            return None
        marker = content[place + 1]
        if marker == 0xFF:  # a fill byte
            place += 1
            continue
        length = int.from_bytes(content[place + 2 : place + 4], "big")
        body = content[place + 4 : place + 2 + length]
        if length < 2 or len(body) != length - 2 or marker in _OTHER_FRAMES:
            return None
        if marker == _APP1 and _turns(body):
            return None
        if marker == _ADOBE and body.startswith(b"Adobe") and body[11:12] != b"\x01":
            return None  # its colours are not YCbCr
        if marker == _BASELINE:
            size = _frame_size(body)
            if size is None:
                return None
        if marker == _SCAN:
            # Within a scan 0xFF stands for itself only before a 0, so this is the end and no pixel.
            # Without it the file is cut off, which decoders on a device may not tell.
            whole = body[:1] == b"\x03" and content.find(_END, place + 2 + length) >= 0
            return size if whole else None
        place += 2 + length
    return None


def _frame_size(body: bytes) -> tuple[int, int] | None:
    """(H, W) by a frame header of the plain kind."""
    if len(body) != 15 or body[0] != 8 or body[5] != 3:
        return None
    ids, sampling = tuple(body[6::3]), tuple(body[7::3])
    if ids != _YCBCR_IDS or sampling[0] not in _SAMPLING or sampling[1:] != (0x11, 0x11):
        return None
    height, width = int.from_bytes(body[1:3], "big"), int.from_bytes(body[3:5], "big")
    return (height, width) if height and width else None


def _turns(metadata: bytes) -> bool:
    """Whether Exif or XMP may say that the image is to be turned."""
    return b"tiff:Orientation" in metadata or (
        metadata.startswith(b"Exif") and not _upright(metadata)
    )


def _upright(exif: bytes) -> bool:
    """Whether the image's directory, the first one, is whole and has no orientation but 1."""
    order = _BYTE_ORDERS.get(exif[: _EXIF + 4])
    if order is None:
        return False

    def number(place: int, size: int) -> int:
        return int.from_bytes(exif[place : place + size], order)

    directory = _EXIF + number(_EXIF + 4, 4)
    first = directory + 2
    end = first + 12 * number(directory, 2)
    if len(exif) < end:
        return False
    for entry in range(first, end, 12):
        if number(entry, 2) == _ORIENTATION:
            size = _INTEGERS.get(number(entry + 2, 2), 0)
            if number(entry + 4, 4) != 1 or number(entry + 8, size) != _AS_STORED:
                return False
    return True
