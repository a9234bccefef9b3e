# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What can be said of a checkpoint's file before torch opens it."""

import codecs
import zipfile
from pathlib import Path

from ..untrusted import FileRefusedError, open_regular, printable
from .errors import CheckpointError

# Records of one file, so tensors and a few more (ours): a ViT-g with its optimizer has 2,000.
RECORD_LIMIT = 200_000
# An ONNX file begins with its version, then names its maker.
ONNX, ONNX_MAKERS = b"\x08", (b"pytorch", b"onnx", b"torch")


def check_file(path: Path) -> int:
    """Say in plain words what is wrong with a file that cannot be a checkpoint.

    Returns:
        Its bytes.

    Raises:
        CheckpointError: It is missing, no regular file, empty, cut off, a text, or its records are
            compressed or too many.
    """
    shown = printable(path)
    if not path.exists() and not path.is_symlink():
        raise CheckpointError(f"There is no checkpoint {shown}.")
    if path.is_dir():
        raise CheckpointError(f"{shown} is a folder and no checkpoint file.")
    try:
        with open_regular(path) as file:
            head = file.read(512)
            size = file.seek(0, 2)
    except FileRefusedError as error:
        raise CheckpointError(f"{shown} is no checkpoint file: {error}.") from None
    if size == 0:
        raise CheckpointError(f"{shown} is empty (0 bytes). Use an older checkpoint.")
    if path.suffix == ".safetensors":
        return size
    if path.suffix == ".onnx" or (head[:1] == ONNX and any(n in head[:64] for n in ONNX_MAKERS)):
        raise CheckpointError(
            f"{shown} is an ONNX file: a network to run, whose weights have lost their names. Name "
            "the checkpoint (.pth) that it was made from."
        )
    if head.startswith(b"PK\x03\x04"):
        _check_records(path, size)
        return size
    try:  # a cut through the last character is no reason to call a text binary
        text = codecs.getincrementaldecoder("utf-8")().decode(head)
    except UnicodeDecodeError:
        return size
    if all(c.isprintable() or c.isspace() for c in text):
        raise CheckpointError(
            f'{shown} is a text file that begins "{printable(text.split(chr(10))[0][:60])}" and no '
            "checkpoint: perhaps an error page, or a pointer to a file that is kept elsewhere."
        )
    return size


def _check_records(path: Path, size: int) -> None:
    shown = printable(path)
    if not is_zip(path):
        raise CheckpointError(
            f"{shown} is cut off: it ends after {size:,} bytes, before its table "
            "of contents. Copy it again, or use an older checkpoint."
        )
    try:
        with zipfile.ZipFile(path) as archive:
            records = archive.infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        raise CheckpointError(f"{shown} is damaged: {printable(str(error))}.") from None
    if len(records) > RECORD_LIMIT:
        raise CheckpointError(
            f"{shown} has {len(records):,} records, the limit is {RECORD_LIMIT:,}: no network that "
            "is read here has as many weights."
        )
    # torch.save stores them as they are; a few packed kilobytes could unfold to any size.
    if any(r.filename.endswith("/constants.pkl") for r in records):
        raise CheckpointError(
            f"{shown} is a TorchScript file: a network to run, with its code. Name the checkpoint "
            "that it was made from, or save the 'state_dict' of torch.jit.load alone."
        )
    packed = next((r for r in records if r.compress_type != zipfile.ZIP_STORED), None)
    if packed is not None:
        raise CheckpointError(
            f"{shown} is a compressed zip ({printable(packed.filename)}, {packed.file_size:,} "
            "bytes), which torch.save never writes: unpack it and name the file that is in it."
        )


def is_zip(path: Path) -> bool:
    """Whether a file is an archive; one that says it spans several disks makes zipfile raise."""
    try:
        return zipfile.is_zipfile(path)
    except zipfile.BadZipFile:
        return False
