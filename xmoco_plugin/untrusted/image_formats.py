# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The one list of the image formats that are read; a file's first bytes decide which it is."""

import re
from typing import NamedTuple


class ImageFormat(NamedTuple):
    """A format that is read.

    Attributes:
        name: For people.
        plugin: Of Pillow, ``{plugin}ImagePlugin``; no other one of Pillow's is ever asked.
        endings: Of files' names, by which a walk finds images.
        magic: What the first bytes match.
    """

    name: str
    plugin: str
    endings: tuple[str, ...]
    magic: re.Pattern[bytes]

    @property
    def pillow(self) -> str:
        """Pillow's name of the format."""
        return self.plugin.upper()


def _magic(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)


# AVIF says what it is in the brands of its first box, as its relatives HEIC and MP4 do.
_BOX = rb"....ftyp"
_AVIF = _BOX + rb"(?:avi[fs]|m[is]f1.{4}(?:.{4}){0,8}avi[fs])"
FORMATS = (
    ImageFormat(
        "JPEG",
        "Jpeg",
        (".jpg", ".jpeg", ".jpe", ".jfif", ".pjpeg", ".pjp"),
        _magic(rb"\xff\xd8\xff"),
    ),
    ImageFormat("PNG", "Png", (".png", ".apng"), _magic(rb"\x89PNG\r\n\x1a\n")),
    ImageFormat("WebP", "WebP", (".webp",), _magic(rb"RIFF....WEBP")),
    ImageFormat("BMP", "Bmp", (".bmp", ".dib"), _magic(rb"BM")),
    ImageFormat("TIFF", "Tiff", (".tif", ".tiff"), _magic(rb"II[*+]\0|MM\0[*+]")),
    ImageFormat("GIF", "Gif", (".gif",), _magic(rb"GIF8[79]a")),
    ImageFormat(
        "PPM", "Ppm", (".ppm", ".pgm", ".pbm", ".pnm", ".pfm"), _magic(rb"P[1-6][\s#]|Pf\s")
    ),
    ImageFormat("AVIF", "Avif", (".avif", ".avifs"), _magic(_AVIF)),
)
ENDINGS = tuple(ending for kind in FORMATS for ending in kind.endings)
NAMES = ", ".join(kind.name for kind in FORMATS)
HEAD = 256  # bytes that are enough to tell
# Two letters, with which texts begin too: what these say in further bytes of their header.
_SURE = {
    "BMP": _magic(rb"BM.{4}.{4}.{4}[\x0c\x28\x34\x38\x40\x6c\x7c]\0\0\0"),
    "PPM": _magic(rb"P[1-6f]\s+(?:#[^\n]*\n\s*)*\d{1,6}\s+\d{1,6}\s"),
}
# What else is found under an image's name: named, so that a user knows what to do with it.
_OTHERS = {
    "PostScript": rb"%!|\xc5\xd0\xd3\xc6",
    "PDF": rb"%PDF",
    "SVG": rb"\s*<(?:\?xml.*)?svg",
    "HTML": rb"\s*<(?:!doctype html|html|head|body)",
    "XML": rb"\s*<\?xml",
    "Photoshop": rb"8BPS",
    "HEIC": _BOX + rb"(?:.{4}){0,8}(?:hei[cmsx]|hev[cx]|m[is]f1)",
    "MP4 video": _BOX,
    "JPEG 2000": rb"\0\0\0\x0cjP  |\xff\x4f\xff\x51",
    "JPEG XL": rb"\0\0\0\x0cJXL |\xff\x0a",
    "DICOM": rb".{128}DICM",
    "an icon": rb"\0\0[\x01\x02]\0",
    "a Windows metafile": rb"\xd7\xcd\xc6\x9a|\x01\0\0\0.{36} EMF",
    "OpenEXR": rb"v/1\x01",
    "Radiance HDR": rb"#\?R",
    "AVI video": rb"RIFF....AVI ",
    "Matroska video": rb"\x1a\x45\xdf\xa3",
    "a zip archive": rb"PK[\x03\x05]",
    "gzip": rb"\x1f\x8b",
    "bzip2": rb"BZh",
    "xz": rb"\xfd7zXZ",
    "a 7z archive": rb"7z\xbc\xaf",
    "a RAR archive": rb"Rar!",
    "HDF5": rb"\x89HDF",
    "a NumPy array": rb"\x93NUMPY",
    "a pointer of Git LFS": rb"version https://git-lfs",
}
_OTHER_MAGIC = {name: re.compile(bytes_, re.DOTALL | re.I) for name, bytes_ in _OTHERS.items()}


def image_format(content: bytes) -> ImageFormat | None:
    """The format of a file by its first bytes, whatever its name says; None if it is not read.

    Args:
        content: The file, or its first ``HEAD`` bytes.
    """
    head = bytes(content[:HEAD])
    return next((kind for kind in FORMATS if kind.magic.match(head)), None)


def is_image(content: bytes) -> bool:
    """Whether a file of any name is an image that is read: surely, not by two letters.

    Args:
        content: The file, or its first ``HEAD`` bytes.
    """
    kind = image_format(content)
    if kind is None:
        return False
    return kind.name not in _SURE or bool(_SURE[kind.name].match(bytes(content[:HEAD])))


def describe_content(content: bytes) -> str:
    """What a file is that has none of the formats: 'PostScript, not one of the formats ...'."""
    head = bytes(content[:HEAD])
    for name, magic in _OTHER_MAGIC.items():
        if magic.match(head):
            return f"{name}, not one of the formats read ({NAMES})"
    if all(byte in b"\t\n\r" or 32 <= byte < 127 for byte in head[:64]):
        start = " ".join(head[:64].decode("ascii").split())[:32]
        return f"not an image: the file is text ({start!r} ...)"
    return f"not an image format that is read ({NAMES}): it begins with {head[:8].hex(' ')}"
