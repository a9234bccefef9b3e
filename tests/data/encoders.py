# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Image files of every kind that users bring, made with the real encoders."""

import io

import numpy as np
from PIL import Image


def encode(image: Image.Image | np.ndarray, kind: str, **options) -> bytes:
    """The bytes of a file."""
    if isinstance(image, np.ndarray):
        image = Image.fromarray(image)
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def scene(height: int = 48, width: int = 64, seed: int = 0) -> np.ndarray:
    """(H, W, 3) uint8 RGB: a smooth ramp with noise, which every encoder has to work for."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:height, 0:width]
    ramp = np.stack([x * 200 // width, y * 200 // height, (x + y) * 200 // (height + width)], 2)
    return (ramp + rng.integers(0, 56, ramp.shape)).astype(np.uint8)


def exif_orientation(value: int) -> Image.Exif:
    """Exif that says how the camera was held."""
    exif = Image.Exif()
    exif[0x0112] = value
    return exif


def write_bad_files(folder) -> dict[str, str]:
    """One file for each way to be unreadable; name: a word that its reason must hold."""
    jpeg = encode(scene(), "JPEG")
    contents = {
        "empty.jpg": (b"", "0 bytes"),
        "truncated.jpg": (jpeg[: len(jpeg) // 2], "truncated"),
        "truncated.png": (encode(scene(), "PNG")[:2000], "truncated"),
        "head_only.jpg": (jpeg[:12], "truncated"),
        "page.jpg": (b"<!DOCTYPE html>\n<html>404 Not Found</html>\n", "HTML, not one of"),
        "noise.png": (bytes(range(128, 256)), "not an image format"),
    }
    for name, (content, _) in contents.items():
        (folder / name).write_bytes(content)
    return {name: word for name, (_, word) in contents.items()}


def write_odd_files(folder, size: tuple[int, int] = (48, 64)) -> list[str]:
    """One readable file for each odd kind of image; their names."""
    rgb = Image.fromarray(scene(*size))
    grey16 = np.linspace(0, 65535, size[0] * size[1]).astype(np.uint16).reshape(size)
    frames = [Image.fromarray(scene(*size, seed)) for seed in range(3)]
    contents = {
        "cmyk.jpg": encode(rgb.convert("CMYK"), "JPEG"),
        "sixteen.png": encode(grey16, "PNG"),
        "sixteen.tif": encode(grey16, "TIFF"),
        "float.tiff": encode(grey16.astype(np.float32) / 65535, "TIFF"),
        "palette.png": encode(rgb.quantize(16), "PNG"),
        "palette_transparent.png": encode(rgb.quantize(16), "PNG", transparency=3),
        "grey.jpeg": encode(rgb.convert("L"), "JPEG"),
        "grey_alpha.png": encode(rgb.convert("LA"), "PNG"),
        "alpha.webp": encode(rgb.convert("RGBA"), "WEBP"),
        "bits.png": encode(rgb.convert("1"), "PNG"),
        "exif.JPG": encode(rgb, "JPEG", exif=exif_orientation(6)),
        "pixel.png": encode(scene(1, 1), "PNG"),
        "line.bmp": encode(scene(1, 300), "BMP"),
        "animated.gif": encode(frames[0], "GIF", save_all=True, append_images=frames[1:]),
        "map.ppm": encode(rgb, "PPM"),
    }
    for name, content in contents.items():
        (folder / name).write_bytes(content)
    return list(contents)
