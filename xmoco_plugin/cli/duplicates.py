# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Finds images that are the same or nearly, in a folder, and between it and a set for judging."""

import argparse
import csv
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import torch
from mmengine.registry import init_default_scope

from xmoco_plugin import pretraining as own
from xmoco_plugin.checkpoint import write_atomic, write_text
from xmoco_plugin.data import UnreadableImageError, decode_image
from xmoco_plugin.data.decode_image import read_image_file
from xmoco_plugin.data.fingerprint import BITS, Fingerprint, fingerprint
from xmoco_plugin.data.near_duplicates import Match, matches, one_per_group
from xmoco_plugin.downstream import judged_images
from xmoco_plugin.findings import SHOWN, some
from xmoco_plugin.progress import watched
from xmoco_plugin.untrusted import for_spreadsheet, printable
from xmoco_plugin.untrusted.image_file import MAX_PIXELS
from xmoco_plugin.visualization.picture_sheet import Picture, sheet

HEAD = ("set", "group", "file", "how", "bits", "like")
GROUPS, PICTURES, THUMB = 100, 8, 128  # of a sheet: groups, pictures of each, px of their side


class Files(torch.utils.data.Dataset):
    """Fingerprints of image files; in place of one that cannot be read, the reason."""

    def __init__(self, paths: Sequence[str], max_pixels: int) -> None:
        self.paths, self.max_pixels = paths, max_pixels

    def __len__(self) -> int:
        return len(self.paths)

    def __getitem__(self, index: int) -> Fingerprint | str:
        path = self.paths[index]
        if "\n" in path or "\r" in path:
            return "its name holds a line break"
        try:
            return fingerprint(decode_image(read_image_file(path), max_pixels=self.max_pixels))
        except UnreadableImageError as error:
            return str(error)


@dataclass
class Images:
    """Images that can be read, with their fingerprints, and how many cannot."""

    paths: list[str]
    prints: list[Fingerprint]
    unreadable: int


def read(paths: Sequence[str], name: str, args: argparse.Namespace) -> Images:
    """Reads every image once, and names those that cannot be read.

    Raises:
        PretrainError: None can.
    """
    files = Files(paths, args.max_pixels or MAX_PIXELS)
    loader = torch.utils.data.DataLoader(
        files, batch_size=16, num_workers=args.workers, collate_fn=list
    )
    found = [one for batch in watched(loader, f"looking at {name}", show=True) for one in batch]
    pairs = list(zip(paths, found, strict=True))
    bad = [f"{printable(path)}: {one}" for path, one in pairs if isinstance(one, str)]
    for line in bad:
        print(f"left out: {line}", file=sys.stderr)
    if len(bad) == len(pairs):
        raise own.PretrainError(f"{name}: none of {len(pairs):,} images can be read. {bad[0]}")
    good = [(path, one) for path, one in pairs if isinstance(one, Fingerprint)]
    return Images([path for path, _ in good], [one for _, one in good], len(bad))


def list_sources(sources: Sequence[str], option: str) -> list[str]:
    """Absolute paths of all images of folders and lists.

    Raises:
        PretrainError: A source that is not there or is of another kind; a list that names a missing
            file.
        FileNotFoundError: A folder without images.
    """
    for source in sources:
        wrong = own.check_source(source)
        if wrong or own.is_archive(source):
            said = wrong or f"--data {source}: an archive is not unpacked here. Name a folder."
            raise own.PretrainError(said.replace("--data ", option, 1))
    notes: list[str] = []
    with tempfile.TemporaryDirectory() as nothing:  # no archive comes as far as this
        found = own.list_images(sources, Path(nothing), notes=notes)
    for note in notes:
        print(note, file=sys.stderr, flush=True)
    return found


def list_against(source: str) -> dict[str, list[str]]:
    """Paths of the images to judge by, by part.

    Raises:
        DownstreamError, PretrainError: As `judged_images` and `list_sources`.
    """
    path = Path(source).expanduser()
    if path.is_dir() or path.suffix == ".json":
        if not path.exists():
            raise own.PretrainError(f"--against {source}: there is no such file or folder.")
        return {part: [*map(os.path.abspath, files)] for part, files in judged_images(path).items()}
    return {"images": list_sources([source], "--against ")}


def groups_of(found: Sequence[Match | None]) -> dict[int, list[int]]:
    """Rows of each group of several, by that of its kept image, which comes first."""
    groups: dict[int, list[int]] = {}
    for row, match in enumerate(found):
        if match is not None:
            groups.setdefault(match.row, [match.row]).append(row)
    return dict(sorted(groups.items()))


def percent(part: int, whole: int) -> str:
    """Such as '12 of 30 (40.0 %)'."""
    return f"{part:,} of {whole:,} ({100 * part / max(whole, 1):.1f} %)"


def describe(found: Sequence[Match | None], args: argparse.Namespace) -> str:
    """What is in the folder, in a sentence."""
    exact = sum(match is not None and match.bits is None for match in found)
    near = sum(match is not None and match.bits is not None for match in found)
    groups = groups_of(found)
    text = f"{percent(exact, len(found))} images are another one, pixel by pixel"
    if not args.exact:
        text += f"; {percent(near, len(found))} look like another one"
        text += f" (at most {args.near} of {BITS} bits apart)"
    if groups:
        largest = max(map(len, groups.values()))
        text += f"; {len(groups):,} groups, the largest of {largest:,} images"
    return text


def describe_leak(part: str, images: Images, found: Sequence[Match | None]) -> str:
    """What of a part is in the folder, in a sentence."""
    leaks = [row for row, match in enumerate(found) if match is not None]
    exact = sum(match is not None and match.bits is None for match in found)
    text = f"{part}: {percent(len(leaks), len(found))} images are in the folder"
    if leaks:
        names = [printable(os.path.basename(images.paths[row])) for row in leaks]
        text += f", {exact:,} pixel by pixel, {len(leaks) - exact:,} nearly: {some(names, SHOWN)}"
    return text


def table(
    images: Images,
    found: Sequence[Match | None],
    parts: Mapping[str, tuple[Images, Sequence[Match | None]]],
) -> Iterator[list[str]]:
    """Rows of the csv: groups with their kept image first, then what is in the other set too."""
    for number, (kept, rows) in enumerate(groups_of(found).items(), 1):
        for row in rows:
            how, bits = _how(found[row])
            like = "" if row == kept else images.paths[kept]
            yield ["", str(number), images.paths[row], how, bits, like]
    for part, (judged, leaks) in parts.items():
        for row, match in enumerate(leaks):
            if match is not None:
                how, bits = _how(match)
                yield [part, "", judged.paths[row], how, bits, images.paths[match.row]]


def _how(match: Match | None) -> tuple[str, str]:
    if match is None:
        return "kept", ""
    return ("exact", "") if match.bits is None else ("near", str(match.bits))


def write_table(path: Path, rows: Iterator[list[str]]) -> None:
    """Writes the csv, whole or not at all; no name in it is run by a spreadsheet."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(HEAD)
    for part, group, file, how, bits, like in rows:
        writer.writerow([part, group, for_spreadsheet(file), how, bits, for_spreadsheet(like)])
    content = text.getvalue().encode()
    write_atomic(content, path, save=lambda data, file: file.write(data))


def kept_images(
    found: Sequence[Match | None],
    prints: Sequence[Fingerprint],
    judged: Sequence[Images],
    near: int | None,
) -> list[int]:
    """Rows of the first of each group, without what is like an image to judge by."""
    kept = [row for row, match in enumerate(found) if match is None]
    for images in judged:
        like = matches([prints[row] for row in kept], images.prints, near)
        kept = [row for row, match in zip(kept, like, strict=True) if match is None]
    return kept


def pictures(images: Images, found: Sequence[Match | None], max_pixels: int | None) -> str:
    """The sheet of the first groups."""
    groups = groups_of(found)
    shown = []
    for number, rows in enumerate(list(groups.values())[:GROUPS], 1):
        more = f", the first {PICTURES}" if len(rows) > PICTURES else ""
        small = []
        for row in rows[:PICTURES]:
            how, bits = _how(found[row])
            text = f"{how} {bits} {printable(images.paths[row])}"
            small.append(Picture(_thumb(images.paths[row], max_pixels), text))
        shown.append((f"group {number:,}: {len(rows):,} images{more}", small))
    title = f"{len(groups):,} groups of like images"
    if len(groups) > GROUPS:
        title += f", the first {GROUPS}"
    return sheet(title, shown)


def _thumb(path: str, max_pixels: int | None) -> bytes:
    pixels = decode_image(read_image_file(path), max_pixels=max_pixels or MAX_PIXELS)
    scale = THUMB / max(pixels.shape[:2])
    size = [max(round(side * scale), 1) for side in pixels.shape[1::-1]]
    done, file = cv2.imencode(".jpg", cv2.resize(pixels, size, interpolation=cv2.INTER_AREA))
    return file.tobytes() if done else b""


def main(args: argparse.Namespace) -> None:
    """Looks, compares, says and writes."""
    for path in (args.out, args.one_per_group, args.sheet):
        if path is not None and not path.parent.is_dir():
            raise FileNotFoundError(f"{path}: there is no folder {path.parent}")
    init_default_scope("mmpretrain")
    near = None if args.exact else args.near
    against = list_against(args.against) if args.against else {}
    images = read(list_sources(args.sources, ""), "the images", args)
    found = one_per_group(images.prints, near)
    plain = sum(not one.bits for one in images.prints)
    print(describe(found, args))
    if plain and near is not None:
        print(f"{plain:,} images are of nearly one colour, and compared pixel by pixel alone")
    parts = {}
    for part, paths in against.items():
        judged = read(paths, part, args)
        leaks = matches(judged.prints, images.prints, near)
        parts[part] = (judged, leaks)
        print(describe_leak(part, judged, leaks))
    if args.out:
        write_table(args.out, table(images, found, parts))
        print(f"{printable(args.out)}: every one of them")
    if args.sheet:
        write_text(args.sheet, pictures(images, found, args.max_pixels))
        print(f"{printable(args.sheet)}: the groups as pictures")
    if args.one_per_group:
        judged_sets = [judged for judged, _ in parts.values()]
        kept = kept_images(found, images.prints, judged_sets, near)
        content = b"".join(os.fsencode(images.paths[row]) + b"\n" for row in kept)
        write_atomic(content, args.one_per_group, save=lambda data, file: file.write(data))
        print(f"{printable(args.one_per_group)}: {percent(len(kept), len(images.paths))} images")
