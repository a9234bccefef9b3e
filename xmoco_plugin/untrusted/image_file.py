# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Opens an image with the decoder of its format and no other; its size is judged before."""

import io
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from importlib import import_module
from pathlib import Path
from typing import BinaryIO

from PIL import Image, ImageFile, UnidentifiedImageError

from .files import FileRefusedError, open_regular
from .image_formats import FORMATS, HEAD, describe_content, image_format
from .image_header import check_header, png_exif

# Both limits are ours. A file: what the largest image has without compression at 8 bytes a pixel.
# Pixels: decoding takes 7 bytes each and up to 11, so some 1 GB a process, and seconds.
FILE_LIMIT = 1 << 30
MAX_PIXELS = 128_000_000

# All of Pillow's decoders would be imported to find one that is not there yet.
for _kind in FORMATS:
    with suppress(ImportError):  # a Pillow without AVIF
        import_module(f"PIL.{_kind.plugin}ImagePlugin")


@contextmanager
def open_image(file: bytes | BinaryIO, max_pixels: int = MAX_PIXELS) -> Iterator[Image.Image]:
    """Opens an image of one of the ``FORMATS``; nothing is decoded yet.

    Files that end early stay errors here, whatever other code told Pillow to tolerate.

    Args:
        file: Its content, or the file, open at its start.
        max_pixels: Height times width that it may have.

    Yields:
        The image, to be loaded inside the ``with``.

    Raises:
        FileRefusedError: It is of no such format, or larger; or what it says of itself is damaged.
        Exception: Nearly any, of Pillow's readers on damaged files, from inside the ``with``.
    """
    stream = io.BytesIO(file) if isinstance(file, bytes) else file
    head = stream.read(HEAD)
    stream.seek(0)
    kind = image_format(head)
    if kind is None:
        raise FileRefusedError(
            "the file is empty (0 bytes)" if not head else describe_content(head)
        )
    if kind.pillow not in Image.OPEN:
        raise FileRefusedError(f"{kind.name}, which the Pillow that is installed does not read")
    check_header(kind.name, stream)
    # Globals that other libraries set: half an image must not train silently, and this limit of
    # pixels is the only one.
    tolerant, ImageFile.LOAD_TRUNCATED_IMAGES = ImageFile.LOAD_TRUNCATED_IMAGES, False
    most, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
    try:
        try:
            image = Image.open(stream, formats=(kind.pillow,))
        except UnidentifiedImageError:
            raise FileRefusedError(
                f"begins as {kind.name} but is damaged, truncated or of an unsupported kind"
            ) from None
        with image:
            width, height = image.size
            if width * height > max_pixels:
                raise FileRefusedError(
                    f"{width}x{height} px is above the limit of {max_pixels} pixels (max_pixels)"
                )
            yield image
    finally:
        ImageFile.LOAD_TRUNCATED_IMAGES, Image.MAX_IMAGE_PIXELS = tolerant, most


def check_image_file(
    path: str | Path, max_pixels: int = MAX_PIXELS, max_bytes: int = FILE_LIMIT
) -> None:
    """Looks at an image's first bytes and its size, for a host that decodes it afterwards.

    Raises:
        FileRefusedError: As :func:`open_regular` and :func:`open_image`; or its header is damaged.
    """
    with open_regular(path, max_bytes) as file:
        try:
            with open_image(file, max_pixels):
                pass
        except (FileRefusedError, MemoryError):
            raise
        except Exception as error:  # nearly any, of Pillow's readers
            raise FileRefusedError(f"damaged or truncated: {error}") from None


def image_size(path: str | Path, upright: bool = True) -> tuple[int, int] | None:
    """Width and height of an image by its header, in pixels; None where it is none that is read.

    Args:
        path: Of the file.
        upright: As Exif says that it stands, which is how it is shown and loaded.
    """
    try:
        with open_regular(path, FILE_LIMIT) as file, open_image(file) as image:
            width, height = image.size
            turned = upright and _exif(image, file).get(0x0112, 1) in (5, 6, 7, 8)
    except MemoryError:
        raise
    except Exception:  # nearly any, of Pillow's readers
        return None
    return (height, width) if turned else (width, height)


def _exif(image: Image.Image, file: BinaryIO) -> Image.Exif:
    """An image's Exif; no pixel is decoded for it."""
    if image.format != "PNG":
        return image.getexif()
    if {"exif", "Raw profile type exif"} & image.info.keys():
        return Image.Image.getexif(image)  # a PNG's own looks behind the pixels first
    found = Image.Exif()
    if content := png_exif(file):
        found.load(content)
    return found
