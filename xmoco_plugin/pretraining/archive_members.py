# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Reads tar and zip archives member by member; every checksum that they have is verified."""

import bz2
import gzip
import lzma
import re
import stat
import struct
import tarfile
import zipfile
from typing import Any, BinaryIO

from ..untrusted.files import size_text
from ..untrusted.image_formats import ENDINGS
from .archive_folder import BLOCK, ENCRYPTED, SPARSE, ArchiveFolder, ArchiveLimitError

# Of all headers of one member, in bytes (ours): names and attributes have a hundredth of it, and
# tarfile holds and searches them whole.
HEADER_LIMIT = 1 << 16
DIGITS = re.compile(rb"\d{1000}")  # tarfile's search takes the square of their number
ENTRY, HEADER = 46, 30  # bytes at least, of a member in a zip's directory and before its content
UNIX = 3  # a zip's maker whose members have Unix's kinds of file
COMPRESSIONS: dict[bytes, Any] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
}
TYPES = {
    tarfile.DIRTYPE: stat.S_IFDIR,
    tarfile.SYMTYPE: stat.S_IFLNK,
    tarfile.LNKTYPE: stat.S_IFLNK,
    tarfile.CHRTYPE: stat.S_IFCHR,
    tarfile.BLKTYPE: stat.S_IFBLK,
    tarfile.FIFOTYPE: stat.S_IFIFO,
}


def unzip(file: BinaryIO, folder: ArchiveFolder) -> None:
    """Writes the images of a zip archive; what its directory says is judged first.

    Args:
        file: The archive.
        folder: Written to.

    Raises:
        ArchiveLimitError: It is above a limit.
        zipfile.BadZipFile: It is damaged, or its members overlap.
    """
    listing = _directory_size(file)
    if listing // ENTRY > folder.max_members:
        raise ArchiveLimitError(
            f"has a directory of {size_text(listing)}, which may be more than "
            f"{folder.max_members:,} members, the limit: name a higher one with --max-members"
        )
    with zipfile.ZipFile(file) as archive:
        chosen = []
        for info in archive.infolist():
            folder.count_member()
            mode = info.external_attr >> 16 if info.create_system == UNIX else 0
            kind = folder.kind_left_out(info.filename, info.file_size, mode)
            if kind is None and info.flag_bits & 1:
                kind = ENCRYPTED
            if kind is None:
                chosen.append(info)
            else:
                folder.leave_out(kind)
        _refuse_overlaps(chosen)
        named = (info for info in chosen if info.filename.lower().endswith(ENDINGS))
        folder.refuse_size(sum(info.file_size for info in named))
        for info in chosen:
            with archive.open(info) as content:  # the checksum is compared at its end
                folder.write(info.filename, content, counted=True)


def untar(file: BinaryIO, folder: ArchiveFolder) -> None:
    """Writes the images of a tar archive, packed or not, which is read once and to its end.

    Args:
        file: The archive.
        folder: Written to.

    Raises:
        ArchiveLimitError: It is above a limit.
        Exception: What tarfile and the decompressors raise on damage.
    """
    head = file.read(6)
    folder.refuse_size(file.seek(0, 2))  # at least, if it is packed
    file.seek(0)
    reader = next((kind for magic, kind in COMPRESSIONS.items() if head.startswith(magic)), None)
    stream = _Forward(reader(file) if reader else file, folder)
    with tarfile.TarFile(fileobj=stream, mode="r", errorlevel=2) as archive:  # type: ignore[arg-type]
        while (member := _next(archive, stream)) is not None:
            folder.count_member()
            if member.issparse():
                folder.leave_out(SPARSE)
                continue
            kind = folder.kind_left_out(member.name, member.size, TYPES.get(member.type, 0))
            if kind is not None:
                folder.leave_out(kind)
            elif content := archive.extractfile(member):
                folder.write(member.name, content, counted=False)
            archive.members.clear()  # type: ignore[attr-defined]  # it would keep them all
    if not stream.ended:  # tarfile takes damage after the first member for the end
        raise tarfile.ReadError(f"it is cut off or damaged before byte {stream.tell():,}")
    if stream.read_to_end():
        folder.leave_out("parts after the archive's end")


def _next(archive: tarfile.TarFile, stream: "_Forward") -> tarfile.TarInfo | None:
    stream.header_left = HEADER_LIMIT
    try:
        return archive.next()
    finally:
        stream.header_left = None


class _Forward:
    """A stream that goes forward only, as tarfile wants it; bytes are counted as they come.

    Args:
        stream: To read from.
        folder: Counts the bytes.

    Attributes:
        header_left: Bytes that may still be read of a header; None outside of headers.
        ended: Whether the last header was the mark of the end, zeros.
    """

    def __init__(self, stream: Any, folder: ArchiveFolder) -> None:
        self.header_left: int | None = HEADER_LIMIT
        self.ended = False
        self._stream = stream
        self._folder = folder
        self._place = 0

    def tell(self) -> int:
        return self._place

    def seek(self, place: int, whence: int = 0) -> int:
        if whence or place < self._place:
            raise tarfile.ReadError(f"it leads back, to byte {place:,}")
        while self._place < place:
            if not self._take(min(BLOCK, place - self._place)):
                raise tarfile.ReadError("unexpected end of data")
        return place

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            raise tarfile.ReadError("a part without a size")
        if self.header_left is not None:
            self.header_left -= size
            if self.header_left < 0:
                raise tarfile.ReadError(f"a member's headers have more than {HEADER_LIMIT:,} bytes")
        parts = []
        while size > 0 and (block := self._take(min(size, BLOCK))):
            parts.append(block)
            size -= len(block)
        found = b"".join(parts)
        if self.header_left is not None:
            self.ended = bool(found) and not found.strip(b"\0")
            if DIGITS.search(found):
                raise tarfile.ReadError("a header holds a number of a thousand digits")
        return found

    def read_to_end(self) -> bool:
        """Reads what is left, for the checksums at the end; whether any of it is not zero."""
        found = False
        while block := self._take(BLOCK):
            found |= bool(block.strip(b"\0"))
        return found

    def _take(self, size: int) -> bytes:
        block = self._stream.read(size)
        if block:
            self._place += len(block)
            self._folder.count_bytes(len(block))
        return block


def _directory_size(file: BinaryIO) -> int:
    """Bytes of a zip's directory, by its last record; 0 where there is none."""
    end = file.seek(0, 2)
    start = max(end - (1 << 16) - 22, 0)
    file.seek(start)
    tail = file.read()
    place = tail.rfind(b"PK\5\6")
    size = struct.unpack_from("<L", tail, place + 12)[0] if 0 <= place <= len(tail) - 22 else 0
    if size == 0xFFFFFFFF and place >= 20 and tail[place - 20 : place - 16] == b"PK\6\7":
        file.seek(min(struct.unpack_from("<Q", tail, place - 12)[0], end))
        record = file.read(56)
        size = struct.unpack_from("<Q", record, 40)[0] if len(record) == 56 else 0
    file.seek(0)
    return size


def _refuse_overlaps(members: list[zipfile.ZipInfo]) -> None:
    """Members that share bytes make a small file large."""
    end = 0
    for info in sorted(members, key=lambda info: info.header_offset):
        if info.header_offset < end:
            raise zipfile.BadZipFile("its members overlap")
        end = info.header_offset + HEADER + info.compress_size
