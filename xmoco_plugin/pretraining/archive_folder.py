# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where an archive's images are written: names judged, bytes counted, what is left out counted."""

import errno
import shutil
import stat
from collections import Counter
from pathlib import Path
from typing import IO

from ..untrusted import is_hidden
from ..untrusted.files import size_text
from ..untrusted.image_file import FILE_LIMIT
from ..untrusted.image_formats import ENDINGS, HEAD, is_image

BLOCK = 1 << 20
NESTED = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".7z", ".rar")
RESERVE = 1_000_000_000  # bytes that stay free on the disk, for what comes after (ours)
LOOK_EVERY = 64 << 20  # bytes between two looks at the disk
NAME_ERRORS = (errno.ENAMETOOLONG, errno.EILSEQ, errno.EINVAL)
# Kinds of what is left out.
LINKS, HIDDEN, SPECIAL = "links", "hidden files", "devices or pipes"
OUTSIDE, CLASHES = "names that lead outside", "names that are there already"
LARGE, NAMES = f"files above {size_text(FILE_LIMIT)}", "names that no file can have"
DEPTH = 100  # folders inside one another; Python makes and removes them by calling itself
DEEP = f"files below more than {DEPTH} folders"
ENCRYPTED, SPARSE, ARCHIVED = "encrypted files", "sparse files", "archives in it"
OTHERS = "files that are no images"


class ArchiveLimitError(Exception):
    """An archive above a limit; the message goes on from the archive's name."""


class ArchiveFolder:
    """A new folder that an archive's images are written to.

    Args:
        path: Of the folder, empty.
        max_bytes: That may come out of the archive.
        max_members: That may be in it.

    Attributes:
        images: How many were written.
        left_out: How many members of which kind were not.
    """

    def __init__(self, path: Path, max_bytes: int, max_members: int) -> None:
        self.path = path
        self.max_bytes = max_bytes
        self.max_members = max_members
        self.images = 0
        self.left_out: Counter[str] = Counter()
        self._bytes = self._members = self._looked = 0

    def refuse_size(self, size: int) -> None:
        """Judges what an archive says of itself, before anything is unpacked.

        Raises:
            ArchiveLimitError: It says that it is larger than the limit, or than the disk has room.
        """
        if size > self.max_bytes:
            raise ArchiveLimitError(
                f"holds {size_text(size)}, the limit is {size_text(self.max_bytes)}: name a higher "
                f"one, --max-unpacked {-(-size // 10**9)}"
            )
        self._ask_disk(size)

    def count_bytes(self, count: int) -> None:
        """Counts what came out of the archive.

        Raises:
            ArchiveLimitError: More than the limit, or the disk is full but for a reserve.
        """
        self._bytes += count
        if self._bytes > self.max_bytes:
            raise ArchiveLimitError(
                f"holds more than {size_text(self.max_bytes)}, the limit: name a higher one, "
                f"--max-unpacked {-(-2 * self.max_bytes // 10**9)}"
            )
        if self._bytes - self._looked > LOOK_EVERY:
            self._looked = self._bytes
            self._ask_disk(0)

    def count_member(self) -> None:
        """Counts a member of any kind.

        Raises:
            ArchiveLimitError: More than the limit.
        """
        self._members += 1
        if self._members > self.max_members:
            raise ArchiveLimitError(
                f"lists more than {self.max_members:,} members, the limit: name a higher one with "
                "--max-members"
            )

    def kind_left_out(self, name: str, size: int, mode: int) -> str | None:
        """Why a member is not written, as a kind; None for what may be, and for a folder ''.

        Args:
            name: As the archive has it.
            size: In bytes, as the archive has it.
            mode: Its kind of file, of ``stat``; 0 for a regular one.
        """
        parts = [part for part in name.split("/") if part not in ("", ".")]
        if stat.S_IFMT(mode) == stat.S_IFDIR or name.endswith("/"):
            return ""
        if stat.S_IFMT(mode) == stat.S_IFLNK:
            return LINKS
        if stat.S_IFMT(mode) not in (0, stat.S_IFREG):
            return SPECIAL
        if any(is_hidden(part) and part != ".." for part in parts):
            return HIDDEN
        if name.lower().endswith(NESTED):
            return ARCHIVED
        if ".." in parts:
            return OUTSIDE
        if len(parts) > DEPTH:
            return DEEP
        return LARGE if size > FILE_LIMIT else None

    def leave_out(self, kind: str) -> None:
        """Counts a member that is not written; a folder, '', is none."""
        if kind:
            self.left_out[kind] += 1

    def write(self, name: str, content: IO[bytes], counted: bool) -> None:
        """Writes an image.

        What has another name than an image's is written if its first bytes are an image's.

        Args:
            name: That :meth:`kind_left_out` has let pass; what it starts from is cut off.
            content: Of the file.
            counted: Whether to count its bytes, or it is done elsewhere.

        Raises:
            ArchiveLimitError: As :meth:`count_bytes`.
            OSError: Writing fails.
        """
        parts = [part for part in name.split("/") if part not in ("", ".")]
        head = content.read(HEAD)
        if counted:
            self.count_bytes(len(head))
        if not name.lower().endswith(ENDINGS) and not is_image(head):
            return self.leave_out(OTHERS)
        try:
            target = self.path.joinpath(*parts)
            target.parent.mkdir(parents=True, exist_ok=True)
            file = open(target, "xb")  # noqa: SIM115  (what the try is about is its opening)
        except (FileExistsError, NotADirectoryError, IsADirectoryError):
            return self.leave_out(CLASHES)  # also where the disk does not tell a from A
        except (OSError, ValueError) as error:
            # A NUL, a name too long, or bytes that this file system does not take.
            if isinstance(error, OSError) and error.errno not in NAME_ERRORS:
                raise
            return self.leave_out(NAMES)
        with file:
            file.write(head)
            while block := content.read(BLOCK):
                if counted:
                    self.count_bytes(len(block))
                file.write(block)
        self.images += 1
        return None

    def _ask_disk(self, needed: int) -> None:
        free = shutil.disk_usage(self.path).free
        if free < needed + RESERVE:
            raise ArchiveLimitError(
                f"does not fit the disk of {self.path.parent}: {size_text(needed)} more are needed "
                f"and {size_text(RESERVE)} beside, {size_text(free)} are free"
            )
