# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Hostile archives, by ending."""

import gzip
import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from . import good
from .kinds import NO_FILE, Kind


def _zip(**members: bytes | int) -> Callable[[Path, Path], object]:
    def make(path: Path, mark: Path) -> None:
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for number, picture in enumerate(good.pictures(8)):
                archive.writestr(f"{number}.png", picture)
            for name, content in members.items():
                data = bytes(content) if isinstance(content, int) else content
                archive.writestr(name.replace("__", "/"), data)

    return make


def _tar(path: Path, mark: Path) -> None:
    """Links out of the folder, a device, a hidden member, a way out by '..'."""
    with tarfile.open(path, "w") as archive:
        for number, picture in enumerate(good.pictures(8)):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(picture)
            archive.addfile(member, io.BytesIO(picture))
        for name, kind, target in (
            ("link.png", tarfile.SYMTYPE, "/etc/passwd"),
            ("hard.png", tarfile.LNKTYPE, "../../../etc/passwd"),
            ("device.png", tarfile.CHRTYPE, ""),
            ("pipe.png", tarfile.FIFOTYPE, ""),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, target
            archive.addfile(member)
        for name in (".hidden.png", "../out.png"):
            member = tarfile.TarInfo(name)
            archive.addfile(member, io.BytesIO())


def _bad_gzip(path: Path, mark: Path) -> None:
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as archive:
        for number, picture in enumerate(good.pictures(8)):
            member = tarfile.TarInfo(f"{number}.png")
            member.size = len(picture)
            archive.addfile(member, io.BytesIO(picture))
    packed = bytearray(gzip.compress(plain.getvalue()))
    packed[-8] ^= 1  # of the checksum
    path.write_bytes(packed)


ARCHIVE = {
    ".zip": {
        **{k: v for k, v in NO_FILE.items() if k != "a folder"},
        "a bomb of zeros": Kind(_zip(**{"a.bmp": 6 << 20, "b.bmp": 6 << 20}), "limit is"),
        "no archive": Kind(lambda p, m: p.write_bytes(b"x" * 99), "cannot be unpacked"),
    },
    ".tar": {
        "links, devices and a way out": Kind(_tar, "left out of .*links"),
        "hidden members": Kind(_tar, "left out of .*hidden"),
    },
    ".tar.gz": {"a wrong checksum": Kind(_bad_gzip, "cannot be unpacked|checksum|CRC")},
}
