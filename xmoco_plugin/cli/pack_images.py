# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Packs a folder of images into a few memory-mapped files that PackedImages reads.

A pack is read from end to end without opening a file an image. Run the same command again after a
kill: it goes on. Class folders become labels, names are kept, and `unpack` gives the files back.
`shards` writes plain tars of a folder's images into a folder or a bucket, for ShardedImages.
"""

import argparse
import sys
from pathlib import PurePath

import cv2
from rich.progress import Progress

from xmoco_plugin.data import Pack, PackError, PackOptions, find_images, write_pack
from xmoco_plugin.data.shards import Store, read_index, write_shards
from xmoco_plugin.pretraining.sources import passed_over
from xmoco_plugin.untrusted import printable


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
            args.max_pixels,
        )
    for name, reason in left_out:
        print(f"left out: {printable(name)}: {reason}", file=sys.stderr)
    others: list[str] = []
    find_images(str(args.folder), others=others)
    if others:
        print(passed_over(args.folder, others), file=sys.stderr)
    inspect(argparse.Namespace(pack=args.out, verify=False))


def shards(args: argparse.Namespace) -> None:
    """Writes a set of shards; names what was left out."""
    with Progress(transient=True) as bar:
        task = bar.add_task("images")
        left_out = write_shards(
            args.folder,
            args.to,
            args.shard_mb,
            lambda done, total: bar.update(task, completed=done, total=total),
        )
    for name, reason in left_out:
        print(f"left out: {printable(name)}: {reason}", file=sys.stderr)
    index = read_index(Store(args.to))[0]
    print(
        f"{printable(args.to)}: {index.images:,} images in {len(index.shards):,} shards, "
        f"{index.bytes / 1e6:,.1f} MB"
    )


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
        if not path.parts or path.anchor or ".." in path.parts or "\0" in name:
            raise PackError(
                f"names.bin of {args.pack} names a file {name!r}, which is not below the folder: "
                "the pack is damaged or made to do harm; nothing was written"
            )
    for row in range(len(opened)):
        if not opened.is_whole(row):
            raise PackError(f"{opened.name(row)} is damaged in {args.pack}")
        name = opened.name(row) + ".png" * opened.raw
        file = args.folder / name
        content = opened.content(row).tobytes()
        if opened.raw:
            content = cv2.imencode(".png", opened.pixels(row))[1].tobytes()
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            with open(file, "xb") as new:
                new.write(content)
        except OSError as error:  # also a name that is there already, or that no file can have
            raise PackError(
                f"{name!r} of {args.pack} cannot be written: {error.strerror}"
            ) from error
    print(f"{len(opened):,} images in {args.folder}")


def main(args: argparse.Namespace) -> None:
    """Packs, writes shards, inspects or unpacks."""
    {"pack": pack, "shards": shards, "inspect": inspect, "unpack": unpack}[args.what](args)
