# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writing a pack: it grows in OUT.partial, goes on after a kill, and is named when it is whole."""

import hashlib
import json
import os
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..checkpoint import sync_folder, write_atomic, write_text
from ..untrusted import FileRefusedError, printable, read_json_object
from ..untrusted.image_file import MAX_PIXELS
from ..untrusted.image_formats import describe_content, image_format
from .decode_image import UnreadableImageError, decode_image, read_image_file
from .pack import FORMAT, RECORD, Pack, PackError, partial_of, read_facts
from .unlabeled_folder import find_images

SYNC_EVERY = 512  # images between two moments that survive a loss of power


@dataclass(frozen=True)
class PackOptions:
    """How images are stored.

    Args:
        kind: 'encoded', files as they are; or 'raw', decoded once and for all, about ten times
            the bytes.
        shorter_side: larger images are shrunk to it (by area, their ratio kept); None for never.
            Encoded images that shrink become JPEGs of ``quality``; the others stay as they are.
        quality: of those JPEGs, 1 to 100.
    """

    kind: str = "encoded"
    shorter_side: int | None = None
    quality: int = 95

    def __post_init__(self) -> None:
        if self.kind not in ("encoded", "raw"):
            raise PackError(f"kind is {self.kind!r}; choose 'encoded' or 'raw'")
        if self.shorter_side is not None and self.shorter_side < 1:
            raise PackError(f"shorter_side is {self.shorter_side}; it must be at least 1")
        if not 1 <= self.quality <= 100:
            raise PackError(f"quality is {self.quality}; it must lie in [1, 100]")


def write_pack(
    folder: str | Path,
    out: str | Path,
    options: PackOptions | None = None,
    progress: Callable[[int, int], object] = lambda done, total: None,
    max_pixels: int = MAX_PIXELS,
) -> list[tuple[str, str]]:
    """Pack every image below a folder; the first folder of its path is its class.

    Nothing is labelled if an image lies directly in ``folder``. What is no regular file or of no
    format that is read is left out, and what cannot be decoded where decoding is needed (raw, or
    a shorter side).

    Args:
        folder: of images, in any depth.
        out: folder of the pack; until it is whole, ``OUT.partial``. Run again after a kill.
        options: how images are stored.
        progress: called with (images done, images there are).
        max_pixels: larger images are left out where decoding is needed.

    Returns:
        (name, reason) of the files left out, by this call or before it.

    Raises:
        PackError: ``out`` exists and is something else, or was begun from other images or options.
    """
    options = options or PackOptions()
    folder, out = Path(folder).expanduser(), Path(out).expanduser()
    names = _names(folder)
    facts = _facts(folder, names, options)
    if out.exists():
        if (out / "pack.json").exists() and _begun_alike(read_facts(out), facts):
            return _left_out(out, folder, names, options, max_pixels)
        raise PackError(f"{out} exists and is no pack of {folder} with these options: name another")
    partial = partial_of(out)
    partial.mkdir(parents=True, exist_ok=True)
    begin = partial / "begin.json"
    if begin.exists():
        try:
            earlier = read_json_object(begin)
        except FileRefusedError as error:
            raise PackError(f"{begin} is damaged ({error}): delete {partial}") from error
        if not _begun_alike(earlier, facts):
            raise PackError(
                f"{partial} was begun from other images or with other options: give those again, "
                "name another OUT, or delete it"
            )
    else:
        write_text(begin, json.dumps(facts))
    left_out = _grow(partial, folder, names, facts["classes"], options, progress, max_pixels)
    _finish(partial, names, facts)
    os.replace(partial, out)
    sync_folder(out.parent)
    for name in ("journal.bin", "begin.json"):  # what would have been needed to go on
        (out / name).unlink()
    return _left_out(out, folder, names, options, max_pixels, dict(left_out))


def _left_out(
    out: Path,
    folder: Path,
    names: list[str],
    options: PackOptions,
    max_pixels: int,
    reasons: dict[str, str] | None = None,
) -> list[tuple[str, str]]:
    """Files that a whole pack lacks; those without a known reason are looked at again."""
    pack, found = Pack(out), dict(reasons or {})
    if len(pack) == len(names):
        return []
    packed = {pack.name(row) for row in range(len(pack))}
    for name in names:
        if name in packed or name in found:
            continue
        found[name] = f"can be read by now: delete {printable(out)} and pack again to have it"
        try:
            _encode(folder / name, options, max_pixels)
        except (UnreadableImageError, OSError) as error:
            found[name] = str(error)
    return [(name, found[name]) for name in names if name in found]


def _names(folder: Path) -> list[str]:
    return find_images(str(folder))


def _facts(folder: Path, names: list[str], options: PackOptions) -> dict[str, Any]:
    """What the pack is; ``source`` tells one set of images from another: names and sizes."""
    digest = hashlib.sha256()
    for name in names:
        if "\n" in name:
            raise PackError(f"{name!r}: a name with a line break cannot be packed; rename it")
        try:
            size = (folder / name).stat().st_size
        except OSError:  # a link that leads nowhere: left out when it is read
            size = -1
        digest.update(f"{size} {name}\n".encode("utf-8", "surrogateescape"))
    labelled = all(os.sep in name for name in names)
    classes = sorted({name.split(os.sep)[0] for name in names}) if labelled else []
    return dict(
        format=FORMAT,
        **vars(options),
        classes=classes,
        images_in_folder=len(names),
        source=digest.hexdigest(),
    )


def _begun_alike(earlier: dict, facts: dict) -> bool:
    return all(earlier.get(key) == value for key, value in facts.items())


def _grow(
    partial: Path,
    folder: Path,
    names: list[str],
    classes: list[str],
    options: PackOptions,
    progress: Callable[[int, int], object],
    max_pixels: int,
) -> list[tuple[str, str]]:
    """Append images until all are there. The journal has a record for each that was looked at;
    its ``name`` is the index among the names, its length 0 if it was left out."""
    label_of = {name: label for label, name in enumerate(classes)}
    left_out = []
    journal, data = (partial / name for name in ("journal.bin", "data.bin"))
    done, end = _recover(journal, data)
    with open(data, "ab") as images, open(journal, "ab") as records:
        for index in range(done, len(names)):
            name = names[index]
            record = np.zeros((), RECORD)
            record["name"], record["offset"] = index, end
            record["label"] = label_of.get(name.split(os.sep)[0], -1)
            try:
                content, shape = _encode(folder / name, options, max_pixels)
            except (UnreadableImageError, OSError) as error:
                left_out.append((name, str(error)))
                content, shape = b"", (0, 0)
            record["length"], record["crc"] = len(content), zlib.crc32(content)
            record["height"], record["width"] = shape
            images.write(content)
            end += len(content)
            records.write(record.tobytes())
            if (index + 1) % SYNC_EVERY == 0 or index + 1 == len(names):
                for file in (images, records):  # data first: a record promises its bytes
                    file.flush()
                    os.fsync(file.fileno())
                progress(index + 1, len(names))
    return left_out


def _recover(journal: Path, data: Path) -> tuple[int, int]:
    """Cut both files back to the last image that is whole; its number and the end of its bytes."""
    for file in (journal, data):
        file.touch()
    size = data.stat().st_size
    records = np.fromfile(journal, RECORD, journal.stat().st_size // RECORD.itemsize)
    ends = records["offset"] + records["length"]
    starts = np.concatenate([[0], ends[:-1]])
    follows = (records["name"] == np.arange(len(records))) & (records["offset"] == starts)
    follows &= ends <= size
    done = len(records) if follows.all() else int(follows.argmin())
    with open(data, "rb+") as images:
        # What was written last may be there in size only.
        while done:
            record = records[done - 1]
            images.seek(int(record["offset"]))
            if zlib.crc32(images.read(int(record["length"]))) == record["crc"] and record["length"]:
                break
            done -= 1
        end = int(ends[done - 1]) if done else 0
        images.truncate(end)
    os.truncate(journal, done * RECORD.itemsize)
    return done, end


def _encode(file: Path, options: PackOptions, max_pixels: int) -> tuple[bytes, tuple[int, int]]:
    """What is stored of a file, and the shape of its pixels if it is raw."""
    content = read_image_file(file)
    if options.kind == "encoded" and options.shorter_side is None:
        if not content:
            raise UnreadableImageError("the file is empty (0 bytes)")
        if image_format(content) is None:
            raise UnreadableImageError(describe_content(content))
        return content, (0, 0)
    image = decode_image(content, max_pixels=max_pixels)
    height, width = image.shape[:2]
    shrinks = options.shorter_side is not None and min(height, width) > options.shorter_side
    if shrinks:
        scale = options.shorter_side / min(height, width)  # type: ignore[operator]
        size = (max(round(width * scale), 1), max(round(height * scale), 1))
        image = cv2.resize(image, size, interpolation=cv2.INTER_AREA)
    if options.kind == "raw":
        return image.tobytes(), image.shape[:2]
    if not shrinks:
        return content, (0, 0)
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, options.quality])[1]
    return encoded.tobytes(), (0, 0)


def _finish(partial: Path, names: list[str], facts: dict[str, Any]) -> None:
    """Write the index of what is there, and only then what says that it is whole."""
    records = np.fromfile(partial / "journal.bin", RECORD)
    records = records[records["length"] > 0]
    if not len(records):
        raise PackError(f"none of {len(names):,} images could be read: nothing to pack")
    lines = [names[i].encode("utf-8", "surrogateescape") + b"\n" for i in records["name"]]
    records["name"] = np.cumsum([0, *map(len, lines[:-1])])
    write_atomic(b"".join(lines), partial / "names.bin", save=lambda data, file: file.write(data))
    write_atomic(records, partial / "records.npy", save=lambda data, file: np.save(file, data))
    facts = {
        **facts,
        "images": len(records),
        "bytes": (partial / "data.bin").stat().st_size,
    }
    write_text(partial / "pack.json", json.dumps(facts, indent=1))
