# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A batch of files to pixels, on the device where that is a GPU with nvJPEG."""

import logging
from collections.abc import Sequence
from typing import Any

import torch
import torchvision
from mmengine.logging import print_log
from torchvision import io

_RGB = io.ImageReadMode.RGB


def holds_jpegs(inputs: Any) -> bool:
    """Whether a batch of ``ragged_collate`` has files in it that are still to be decoded."""
    return isinstance(inputs, dict) and any(len(size) == 1 for size in inputs["sizes"])


def decoder_device(device: torch.device | str) -> torch.device:
    """Where the files of a model on this device are decoded: nvJPEG's GPU, else the CPU."""
    place = torch.device(device)
    return place if place.type == "cuda" else torch.device("cpu")


def decode_jpegs(
    images: Sequence[torch.Tensor], device: torch.device
) -> tuple[list[torch.Tensor], dict[int, str], str | None]:
    """Decode the files among the images, in one call.

    If that fails, files are decoded one by one on the CPU, to find out whose fault it is. An
    unreadable one gives its place to the next readable image. On a GPU the host waits for the
    current stream before the call, and for the decoder in it.

    Args:
        images: uint8 on the CPU, each (H, W, 3) BGR or the (bytes,) of a JPEG.
        device: where to decode.

    Returns:
        All images, uint8 (3, H, W) BGR, those decoded here on the device; of each place whose file
        was unreadable the reason; and how the one call failed, None if it did not.

    Raises:
        ValueError: no image of the batch is readable.
        torch.cuda.OutOfMemoryError, RuntimeError: the device has no memory left for the images.
    """
    places = [place for place, image in enumerate(images) if image.ndim == 1]
    files = [images[place] for place in places]
    reasons: dict[int, str] = {}
    fault = None
    if device.type == "cuda":
        # torchvision takes memory that the current stream has given back, and writes to it from
        # another without waiting for kernels that still read it. The host waits, since nvJPEG's
        # hardware need not keep to the order of streams either (docs/dev/hosts.md).
        torch.cuda.current_stream(device).synchronize()
    try:
        decoded: list[torch.Tensor | None] = list(io.decode_jpeg(files, mode=_RGB, device=device))
    except RuntimeError as error:
        if device.type == "cuda":
            # The other images may still be written, to memory that is free by now.
            torch.cuda.synchronize(device)
        if _out_of_memory(error):
            raise
        fault = _first_line(error)
        decoded = []
        for place, file in zip(places, files, strict=True):
            image, reason = _decode_alone(file)
            decoded.append(None if image is None else image.to(device))
            if reason is not None:
                reasons[place] = reason
    found = [image.permute(2, 0, 1) if image.ndim == 3 else None for image in images]
    for place, image in zip(places, decoded, strict=True):
        found[place] = None if image is None else image.flip(0)  # as the loaders have it: BGR
    readable = [image for image in found if image is not None]
    if not readable:
        raise ValueError(
            f"no image of a batch of {len(images)} could be decoded; the first: {reasons[0]}. See "
            "to the files, or decode in the workers: LoadImageOrSkip(defer_jpegs=False)"
        )
    return [_next(found, place) for place in range(len(found))], reasons, fault


def tell_decoder(
    device: torch.device, reasons: dict[int, str], fault: str | None, told: set[str]
) -> None:
    """Log who decoded a batch, the first time that it goes this way.

    Args:
        device, reasons, fault: given to, and by, ``decode_jpegs``.
        told: of earlier batches; changed.
    """
    gpu = device.type == "cuda"
    decoder = f"nvJPEG on {device}" if gpu else "libjpeg on the CPU"
    way = "whole" if fault is None or not gpu else "damaged" if reasons else "refused"
    if way in told:
        return
    told.add(way)
    messages = dict(
        whole=f"plain JPEGs are decoded by torchvision {torchvision.__version__} ({decoder}"
        f"{', a batch at once' if gpu else ''}); all other images by Pillow in the loader",
        damaged=f"{decoder} gave up a batch with damaged JPEGs, and libjpeg on the CPU decoded it, "
        f"file by file: {fault}",
        refused=f"{decoder} failed on a batch, and libjpeg on the CPU could decode each of its "
        f"JPEGs, one by one: {fault}. A run in which every batch goes this way is slow: install a "
        "torchvision with nvJPEG, or decode in the workers: LoadImageOrSkip(defer_jpegs=False). "
        "Further batches are not reported",
    )
    print_log(
        messages[way], logger="current", level=logging.WARNING if way == "refused" else logging.INFO
    )


def name_skipped(data_samples: Sequence[Any] | None, reasons: dict[int, str]) -> None:
    """Note unreadable files where ``SkippedImagesHook`` looks for them."""
    for place, reason in reasons.items():
        sample = data_samples[place] if data_samples else None
        if sample is None:
            raise ValueError(
                f"image {place} of a batch could not be decoded ({reason}) and has no name: pack "
                "meta_keys=('sample_idx', 'img_path', 'skipped')"
            )
        path = str(sample.get("img_path", f"image {place} of a batch"))
        sample.set_metainfo(dict(skipped=[*sample.get("skipped", ()), (path, reason)]))


def _decode_alone(file: torch.Tensor) -> tuple[torch.Tensor | None, str | None]:
    """A file's pixels on the CPU, or why there are none."""
    try:
        return io.decode_jpeg(file, mode=_RGB), None
    except RuntimeError as error:
        return None, f"damaged: {_first_line(error)}"


def _first_line(error: RuntimeError) -> str:
    return (str(error).splitlines() or [repr(error)])[0]


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether torch had no memory for the images; torchvision hands that on without its type."""
    return isinstance(error, torch.cuda.OutOfMemoryError) or "CUDA out of memory" in str(error)


def _next(found: list[torch.Tensor | None], place: int) -> torch.Tensor:
    """The first readable image from a place on, in a circle."""
    return next(image for image in found[place:] + found[:place] if image is not None)
