# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Sequence
from typing import Any

import numpy as np
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmpretrain.registry import TRANSFORMS

from ..untrusted.image_file import FILE_LIMIT, MAX_PIXELS
from .decode_image import (
    IMAGENET_MEAN_RGB,
    UnreadableImageError,
    decode_image,
    read_image_file,
)
from .jpeg_header import plain_jpeg_size
from .tiff_file import many_channels


class TooManyUnreadableError(ValueError):
    """So many images in a row could not be read that training on would be pointless."""


@TRANSFORMS.register_module()
class LoadImageOrSkip(BaseTransform):
    """Read an image strictly; on a bad file let the dataset draw another and remember which it was.

    A bad file makes the transform return None, at which mmengine's BaseDataset fetches another
    sample. That one carries ``skipped``, a list of ``(path, reason)`` of the files passed over
    before it; hand it on with ``PackInputs(meta_keys=(..., 'skipped'))`` and ``SkippedImagesHook``
    names and counts them. Decoding follows the rules of :func:`decode_image`. Samples that bring
    their image along (``img``) pass as they are; those that bring a file's content (``img_bytes``)
    are not looked for on disk, and ``unreadable`` is the reason why there is neither.

    Required keys: ``img_path``, and ``img`` or ``img_bytes`` where there is no such file.
    Added keys: ``img`` ((H, W, 3) uint8 BGR), ``img_shape`` and ``ori_shape`` ((H, W)), and after
    a bad file ``skipped``.

    Args:
        on_error (str): 'skip', or 'raise' for evaluation, where no sample may be replaced.
            Defaults to 'skip'.
        max_consecutive (int): Stop after so many unreadable images in a row, counted in each
            loader process. Defaults to 50 (ours).
        bit_depth (int): Significant bits of 16-bit grey files, in [8, 16]. Defaults to 16.
        background (Sequence[int]): RGB behind transparent pixels. Defaults to ImageNet's mean.
        min_side (int): Images with a shorter side, in pixels, count as unreadable. Defaults to 1:
            mmpretrain's MoCo views take even those.
        max_pixels (int): Images with more count as unreadable, undecoded. Defaults to 128 million.
        max_bytes (int): Larger files on this machine count as unreadable, unread. Defaults to 1 GB.
        defer_jpegs (bool): Leave plain JPEGs (:func:`plain_jpeg_size`) as they are, for a
            ``TwoViewDataPreprocessor`` that decodes the batch on its device: ``img`` is then the
            file, (bytes,) uint8, for ``PackRaggedInputs``. All others are decoded here. Defaults to
            False.
        backend_args (dict, optional): Of mmengine's file backend. Defaults to None: by the path.

    Raises:
        TooManyUnreadableError: After ``max_consecutive`` failures in a row.
        UnreadableImageError: With ``on_error='raise'``, naming the file and the reason.
        ValueError: For arguments out of their range.
    """

    def __init__(
        self,
        on_error: str = "skip",
        max_consecutive: int = 50,
        bit_depth: int = 16,
        background: Sequence[int] = IMAGENET_MEAN_RGB,
        min_side: int = 1,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = FILE_LIMIT,
        defer_jpegs: bool = False,
        backend_args: dict | None = None,
    ) -> None:
        if on_error not in ("skip", "raise"):
            raise ValueError(f"on_error is {on_error!r}; choose 'skip' or 'raise'")
        if max_consecutive < 1:
            raise ValueError(f"max_consecutive is {max_consecutive}; it must be at least 1")
        if not 8 <= bit_depth <= 16:
            raise ValueError(f"bit_depth is {bit_depth}; it must lie in [8, 16]")
        self.on_error = on_error
        self.max_consecutive = max_consecutive
        self.rules: dict[str, Any] = dict(
            bit_depth=bit_depth,
            background=tuple(background),
            min_side=min_side,
            max_pixels=max_pixels,
        )
        self.max_bytes = max_bytes
        self.defer_jpegs = defer_jpegs
        self.backend_args = backend_args
        self._skipped: list[tuple[str, str]] = []  # since the last sample that was read
        self._failures = 0  # in a row

    def transform(self, results: dict) -> dict | None:
        """Add the image, or return None for a file that cannot be read."""
        if "img" not in results:
            path = str(results["img_path"])
            try:
                image, size = self._load(results, path)
            except UnreadableImageError as error:
                self._fail(path, str(error))
                return None
            results["img"] = image
            results["img_shape"] = results["ori_shape"] = size
        self._failures = 0
        if self._skipped:
            results["skipped"], self._skipped = self._skipped, []
        return results

    def _load(self, results: dict, path: str) -> tuple[np.ndarray, tuple[int, int]]:
        return self._decode(self._content(results, path))

    def _decode(self, content: bytes) -> tuple[np.ndarray, tuple[int, int]]:
        """Pixels, or the file if they are to be made later; (H, W)."""
        size = plain_jpeg_size(content) if self.defer_jpegs else None
        if size is not None:
            height, width = size
            fits = min(size) >= self.rules["min_side"]
            if fits and height * width <= self.rules["max_pixels"]:
                return np.frombuffer(bytearray(content), np.uint8), size
        image = decode_image(content, **self.rules)
        return image, image.shape[:2]

    def _content(self, results: dict, path: str) -> bytes:
        if "unreadable" in results:
            raise UnreadableImageError(results["unreadable"])
        if "img_bytes" in results:
            content = bytes(results.pop("img_bytes"))
            # Of files on disk the look at them says so before; of a set of shards it sees a sample.
            if reason := many_channels(content):
                raise UnreadableImageError(reason)
            return content
        return self._read(path)

    def _read(self, path: str) -> bytes:
        backend = fileio.get_file_backend(
            path, backend_args=self.backend_args, enable_singleton=True
        )
        if isinstance(backend, fileio.LocalBackend):
            return read_image_file(path, self.max_bytes)
        try:
            return backend.get(path)
        except OSError as error:
            raise UnreadableImageError(f"reading failed: {error}") from None

    def _fail(self, path: str, reason: str) -> None:
        if self.on_error == "raise":
            raise UnreadableImageError(f"cannot read {path}: {reason}")
        self._skipped.append((path, reason))
        self._failures += 1
        if self._failures >= self.max_consecutive:
            files = len({skipped for skipped, _ in self._skipped})
            raise TooManyUnreadableError(
                f"{self._failures} images in a row could not be read ({files} different files); "
                f"the last is {path}: {reason}. Check that data_root holds whole images, or raise "
                "LoadImageOrSkip's max_consecutive"
            )

    def __repr__(self) -> str:
        return (
            f"{type(self).__name__}(on_error={self.on_error!r}, "
            f"max_consecutive={self.max_consecutive}, rules={self.rules}, "
            f"defer_jpegs={self.defer_jpegs})"
        )
