# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Packs a folder of images into a few memory-mapped files that PackedImages reads.

A pack is read from end to end without opening a file an image. Run the same command again after a
kill: it goes on. Class folders become labels, names are kept, and `unpack` gives the files back.
"""

import argparse
import sys
from pathlib import Path, PurePath

import cv2
from rich.progress import Progress

from xmoco_plugin.data import Pack, PackError, PackOptions, write_pack


def pack(args: argparse.Namespace) -> None:
    """Writes the pack; names what was left out."""
    options = PackOptions("raw" if args.raw else "encoded", args.shorter_side, args.quality)
    with Progress(transient=True) as bar:
        task = bar.add_task("images")
        left_out = write_pack(
            args.folder,
            args.out,
            options,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    for name, reason in left_out:
        print(f"left out: {name}: {reason}", file=sys.stderr)
    inspect(argparse.Namespace(pack=args.out, verify=False))


def inspect(args: argparse.Namespace) -> None:
    """Prints what a pack holds.

    Raises:
        PackError: with --verify, images whose bytes have changed, named.
    """
    opened = Pack(args.pack)
    facts = opened.facts
    classes = f"{len(facts['classes'])} classes" if facts["classes"] else "no labels"
    limit = f", shorter side at most {facts['shorter_side']}" if facts["shorter_side"] else ""
    print(
        f"{args.pack}: {len(opened):,} images, {facts['bytes'] / 1e6:,.1f} MB, "
        f"{facts['kind']}{limit}, {classes}"
    )
    if len(opened) < facts["images_in_folder"]:
        print(f"{facts['images_in_folder'] - len(opened):,} files of the folder were left out")
    if args.verify:
        bad = [opened.name(row) for row in range(len(opened)) if not opened.is_whole(row)]
        if bad:
            more = f" and {len(bad) - 10:,} more" if len(bad) > 10 else ""
            raise PackError(f"{len(bad):,} images are damaged: {', '.join(bad[:10])}{more}")
        print("every checksum is right")


def unpack(args: argparse.Namespace) -> None:
    """Writes the images as files again: encoded ones as they are, raw ones as PNG.

    Raises:
        PackError: the folder exists, an image's bytes have changed, or its name leads elsewhere;
            of names, before anything is written.
    """
    if args.folder.exists():
        raise PackError(f"{args.folder} exists: name a folder that does not")
    opened = Pack(args.pack)
    for name in map(opened.name, range(len(opened))):
        path = PurePath(name)
        if not path.parts or path.anchor or ".." in path.parts:
            raise PackError(
                f"names.bin of {args.pack} names a file {name!r}, which is not below the folder: "
                "the pack is damaged or made to do harm; nothing was written"
            )
    for row in range(len(opened)):
        if not opened.is_whole(row):
            raise PackError(f"{opened.name(row)} is damaged in {args.pack}")
        file = args.folder / opened.name(row)
        file.parent.mkdir(parents=True, exist_ok=True)
        if opened.raw:
            encoded = cv2.imencode(".png", opened.pixels(row))[1]
            file.with_name(file.name + ".png").write_bytes(encoded.tobytes())
        else:
            file.write_bytes(opened.content(row).tobytes())
    print(f"{len(opened):,} images in {args.folder}")


def main() -> None:
    """Packs, inspects or unpacks."""
    parser = argparse.ArgumentParser(description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("pack", help="write FOLDER's images to OUT")
    command.add_argument("folder", type=Path)
    command.add_argument("out", type=Path)
    command.add_argument("--raw", action="store_true", help="store pixels: nothing to decode")
    command.add_argument("--shorter-side", type=int, help="shrink larger images to this, in pixels")
    command.add_argument("--quality", type=int, default=95, help="of JPEGs that were shrunk")
    command.set_defaults(function=pack)
    command = commands.add_parser("inspect", help="say what a pack holds")
    command.add_argument("pack", type=Path)
    command.add_argument("--verify", action="store_true", help="compare every checksum")
    command.set_defaults(function=inspect)
    command = commands.add_parser("unpack", help="write a pack's images to files again")
    command.add_argument("pack", type=Path)
    command.add_argument("folder", type=Path)
    command.set_defaults(function=unpack)
    args = parser.parse_args()
    args.function(args)
