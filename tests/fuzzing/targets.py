# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What reads files of strangers: whole files for it, how it reads one, and what it may raise."""

import argparse
import io
import json
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image

from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint
from xmoco_plugin.data import Pack, PackError, PackOptions, write_pack
from xmoco_plugin.data.decode_image import UnreadableImageError, decode_image
from xmoco_plugin.data.jpeg_header import plain_jpeg_size
from xmoco_plugin.data.npz_file import NPZ_DAMAGES, read_npz
from xmoco_plugin.data.shards import ShardError
from xmoco_plugin.data.shards.tar import find_files, make_tar, name_of
from xmoco_plugin.downstream import coco_survey
from xmoco_plugin.downstream.coco_annotations import check_images, read_coco
from xmoco_plugin.downstream.errors import DownstreamError
from xmoco_plugin.downstream.mask_survey import check_sizes, read_labels, survey
from xmoco_plugin.pretraining import PretrainError
from xmoco_plugin.pretraining.scan import describe, scan_images
from xmoco_plugin.untrusted import FileRefusedError, image_size
from xmoco_plugin.visualization.report import WorkDir
from xmoco_plugin.visualization.stored_maps import read_maps

from .large_tiffs import read_tiff, tiffs
from .texts import annotations_of_voc, configs, read_config, read_voc, read_words, words

# What a reading may return, beside that it has read: it is counted.
PLAIN, NOT_PLAIN = "header is plain", "header is not plain"
AS_NOTED, ANEW = "scan is as noted", "scan lacks lines"
PIXELS = 4_000_000  # of an image that is read here: memory is bounded by what is allowed


class Target(NamedTuple):
    """What is fed.

    Attributes:
        files: Whole files, from a folder to write in.
        read: Reads the changed file; its folder is its own. A text that it returns is counted.
        name: Of the file in there.
        says: What it may raise.
    """

    files: Callable[[Path], list[bytes]]
    read: Callable[[Path], object]
    name: str
    says: tuple[type[BaseException], ...]


def images(folder: Path) -> list[bytes]:
    """Small files of eight formats, and with what the formats also know."""
    noise = np.random.default_rng(0).integers(0, 255, (24, 20, 3), dtype=np.uint8)
    plain, found = Image.fromarray(noise), []
    exif = Image.Exif()
    exif[0x0112] = 6
    palette, alpha = plain.quantize(8), plain.convert("RGBA")
    grey16 = Image.fromarray(noise[..., 0].astype(np.uint16) << 6)
    ways = [
        *((plain, "JPEG", dict(exif=exif)), (plain, "JPEG", dict(progressive=True))),
        *((plain.convert("CMYK"), "JPEG", {}), (plain, "PNG", {}), (palette, "PNG", {})),
        *((grey16, "PNG", {}), (alpha, "PNG", {}), (alpha, "WEBP", {}), (plain, "BMP", {})),
        *((palette, "GIF", {}), (palette, "GIF", dict(save_all=True, append_images=[palette]))),
        *((plain, "TIFF", {}), (grey16, "TIFF", dict(compression="tiff_lzw"))),
        *((plain, "TIFF", dict(compression="jpeg")), (plain, "PPM", {}), (plain, "AVIF", {})),
    ]
    for image, kind, settings in ways:
        file = io.BytesIO()
        try:
            image.save(file, kind, **settings)
        except (KeyError, OSError):  # a Pillow without the codec
            continue
        found.append(file.getvalue())
    return found


def jpegs(folder: Path) -> list[bytes]:
    """Those of the images, and the plain kinds, whose header alone tells the size."""
    file = io.BytesIO()
    Image.linear_gradient("L").convert("RGB").resize((20, 24)).save(file, "JPEG")
    return [file.getvalue(), *(c for c in images(folder) if c.startswith(b"\xff\xd8"))]


def read_header(file: Path) -> str:
    """What the header says must be what the decoder finds."""
    content = file.read_bytes()
    size = plain_jpeg_size(content)
    if size is not None and size[0] * size[1] <= PIXELS:
        shape = decode_image(content, max_pixels=PIXELS).shape[:2]
        assert shape == size, f"the header says {size}, the image is {shape}"
    return NOT_PLAIN if size is None else PLAIN


def read_image(file: Path) -> None:
    image_size(file)
    image = decode_image(file.read_bytes(), max_pixels=PIXELS)
    assert image.dtype == np.uint8
    assert image.ndim == 3


def packs(folder: Path) -> list[bytes]:
    """The four files of a pack one behind the other, with their lengths before them."""
    (folder / "photos").mkdir()
    for number, content in enumerate(images(folder)[:4]):
        (folder / "photos" / f"{number}.jpg").write_bytes(content)
    found = []
    for kind in ("encoded", "raw"):
        write_pack(folder / "photos", folder / kind, PackOptions(kind))
        parts = [(folder / kind / name).read_bytes() for name in PACK_FILES]
        found.append(b"".join(len(part).to_bytes(4, "big") + part for part in parts))
    return found


PACK_FILES = ("pack.json", "records.npy", "names.bin", "data.bin")


def read_pack(file: Path) -> None:
    rest = file.read_bytes()
    pack = file.parent / "pack"
    pack.mkdir()
    for name in PACK_FILES:
        length = int.from_bytes(rest[:4], "big")
        (pack / name).write_bytes(rest[4 : 4 + length])
        rest = rest[4 + length :]
    opened = Pack(pack)
    for row in range(min(len(opened), 8)):
        opened.name(row)
        if opened.is_whole(row) and not opened.raw:
            decode_image(opened.content(row).tobytes(), max_pixels=PIXELS)
        elif opened.raw:
            opened.pixels(row)


def tars(folder: Path) -> list[bytes]:
    """Shards: names that fit the header, and one that does not."""
    names = ("a/b.png", "c" * 150 + "/" + "d" * 90, "\u00fc" * 300)
    return [make_tar([(name, bytes(range(n))) for name in names]) for n in (3, 200)]


def read_tar(file: Path) -> None:
    """As a process reads a shard that it has opened."""
    content = np.frombuffer(file.read_bytes(), np.uint8)
    for begin, start, size in find_files(content):
        name_of(content, int(begin))
        content[start : start + size].tobytes()


def scans(folder: Path) -> list[bytes]:
    """The lines of a scan of three images that lie there."""
    names = []
    for number, content in enumerate(images(folder)[:3]):
        (folder / f"{number}.jpg").write_bytes(content)
        names.append(str(folder / f"{number}.jpg"))
    scan_images(names, folder / "scan.jsonl")
    read_scan.names = names  # type: ignore[attr-defined]
    return [(folder / "scan.jsonl").read_bytes()]


def read_scan(file: Path) -> str:
    before = file.stat().st_size
    found = scan_images(read_scan.names, file)  # type: ignore[attr-defined]
    assert len(found.good) + len(found.bad) == 3
    describe(found, 32)
    return AS_NOTED if file.stat().st_size == before else ANEW


def run_lines(folder: Path) -> list[bytes]:
    """Lines of metrics, of health and of weights, and a summary."""
    step = dict(step=1, iter=1, epoch=1, lr=0.1, loss=2.5, loss_nce=2.0, time=0.1)
    health = dict(iter=4, epoch=1, verdict="learning", reason="r", values=dict(rank=3.0))
    weights = dict(iter=0, epoch=0, percent=50.0, queries=4, hits=[1], verdict=None, values={})
    summary = dict(unit="epoch", knn_before=1.0, losses=dict(loss=[[0.5, 2.0]]), files={})
    lines = [dict(step, iter=i, step=i) for i in range(6)]
    lines.append({"step": 1, "accuracy/top1": 5.0})
    parts = (lines, [health], [weights], [summary])
    return ["\n".join(map(json.dumps, part)).encode() for part in parts]


RUN_FILES = ("metrics.jsonl", "health.jsonl", "weights.jsonl", "summary.json", "last_checkpoint")


def read_run(file: Path) -> None:
    content = file.read_bytes()
    for name in RUN_FILES:
        (file.parent / name).write_bytes(content)
    WorkDir.read(file.parent)


def annotations(folder: Path) -> list[bytes]:
    box = dict(id=1, image_id=1, category_id=1, bbox=[1, 2, 8, 9], area=72, iscrowd=0)
    box["segmentation"] = [[1, 2, 9, 2, 9, 11]]
    other = dict(box, id=2, category_id=2, bbox=[0.5, 0.5, 3.0, 4.0])
    content = dict(
        images=[dict(id=1, file_name="0.jpg", width=20, height=24)],
        annotations=[box, other],
        categories=[dict(id=1, name="a"), dict(id=2, name="b")],
    )
    return [json.dumps(content).encode(), json.dumps(content, indent=1).encode()]


def read_annotations(file: Path) -> None:
    found = read_coco(file)
    folder = file.parent / "images"
    folder.mkdir()
    Image.new("RGB", (20, 24)).save(folder / "0.jpg")
    check_images(found, folder)
    list(coco_survey.survey(found, folder, found.classes, "train"))
    coco_survey.write_mended(found, file.parent / "mended")


def masks(folder: Path) -> list[bytes]:
    found = []
    numbers = np.arange(480, dtype=np.uint8).reshape(24, 20) % 3
    for image in (Image.fromarray(numbers), Image.fromarray(numbers).quantize(4)):
        file = io.BytesIO()
        image.save(file, "PNG")
        found.append(file.getvalue())
    return found


def read_mask(file: Path) -> None:
    survey(read_labels([file]), ["a", "b", "c"], 255, 1, "train")
    check_sizes([file], [file])


def checkpoints(folder: Path) -> list[bytes]:
    weights = {"state_dict": {"w": torch.arange(6.0).reshape(2, 3), "n": torch.tensor(3)}}
    found = []
    for zipped in (True, False):
        file = io.BytesIO()
        torch.save(
            weights | {"meta": {"cfg": "a = 1", "epoch": 2}},
            file,
            _use_new_zipfile_serialization=zipped,
        )
        found.append(file.getvalue())
    return found


def read_weights(file: Path) -> None:
    assert isinstance(read_checkpoint(file), dict)


def arrays(folder: Path) -> list[bytes]:
    content = dict(images=np.zeros((3, 4, 4, 3), np.uint8), labels=np.arange(3))
    return [npz(content, np.savez), npz(content, np.savez_compressed)]


def maps(folder: Path) -> list[bytes]:
    content = dict(before=np.eye(3, dtype=np.float32), after=np.eye(3), labels=np.arange(3))
    return [npz(content, np.savez), npz(content, np.savez_compressed)]


def npz(content: dict, save: Callable) -> bytes:
    file = io.BytesIO()
    save(file, **content)
    return file.getvalue()


def read_arrays(file: Path) -> None:
    with open(file, "rb") as opened:
        read_npz(opened, ("images", "labels"), 1 << 24)


IMAGE = (UnreadableImageError, FileRefusedError)
TARGETS = {
    "image": Target(images, read_image, "image.bin", IMAGE),
    "jpeg-header": Target(jpegs, read_header, "image.jpg", IMAGE),
    "tiff": Target(tiffs, read_tiff, "image.tif", IMAGE),
    "pack": Target(packs, read_pack, "pack.bin", (PackError, *IMAGE)),
    "tar": Target(tars, read_tar, "00000.tar", (ShardError,)),
    "scan": Target(scans, read_scan, "scan.jsonl", (PretrainError,)),
    "run": Target(run_lines, read_run, "lines.bin", (ValueError,)),
    "coco": Target(annotations, read_annotations, "train.json", (DownstreamError,)),
    "mask": Target(masks, read_mask, "mask.png", (DownstreamError,)),
    "voc": Target(annotations_of_voc, read_voc, "a.xml", (DownstreamError,)),
    "checkpoint": Target(checkpoints, read_weights, "w.pth", (CheckpointError,)),
    "npz": Target(arrays, read_arrays, "train.npz", NPZ_DAMAGES),
    "maps": Target(maps, read_maps, "summary_maps.npz", (FileRefusedError,)),
    "config": Target(configs, read_config, "config.py", (PretrainError,)),
    "cfg-options": Target(
        words, read_words, "words.bin", (ValueError, argparse.ArgumentError, SystemExit)
    ),
}
