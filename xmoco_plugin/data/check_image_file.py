# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from mmcv.transforms import BaseTransform
from mmengine import fileio
from mmengine.registry import TRANSFORMS

from ..untrusted import FileRefusedError, check_image_file, in_other_case, printable, refusal
from ..untrusted.image_file import FILE_LIMIT, MAX_PIXELS
from .decode_image import UnreadableImageError

KEYS = ("img_path", "seg_map_path")


@TRANSFORMS.register_module()  # the root's, where every host looks
class CheckImageFile(BaseTransform):
    """Looks at the files of a sample before a host's transform reads and decodes them.

    A host's ``LoadImageFromFile`` waits for pipes, fills the memory from devices, and lets OpenCV
    decode whatever it knows, of any size. This lets through what ``LoadImageOrSkip`` would read: a
    regular file of one of the formats, within the limits. Some dozen kB are read a file; files of
    other backends than the local one are not looked at. A file whose ending is written in another
    case than the host expects (``a.JPG`` where it makes ``a.jpg`` of a name) is taken.

    Args:
        max_pixels (int): Of an image, height times width. Defaults to 128 million.
        max_bytes (int): Of a file. Defaults to 1 GB.
        any_format (bool): Let every format through, with any number of pixels, for those that
            OpenCV reads and the list has not, such as JPEG 2000. Defaults to False.

    Raises:
        UnreadableImageError: Names the file and the reason.
    """

    def __init__(
        self,
        max_pixels: int = MAX_PIXELS,
        max_bytes: int = FILE_LIMIT,
        any_format: bool = False,
    ) -> None:
        self.max_pixels = max_pixels
        self.max_bytes = max_bytes
        self.any_format = any_format

    def transform(self, results: dict) -> dict:
        """The sample, with the paths of the files that are there."""
        for key in KEYS:
            path = results.get(key)
            if not path or not isinstance(fileio.get_file_backend(path), fileio.LocalBackend):
                continue
            if found := in_other_case(path):
                path = results[key] = type(path)(found)
            try:
                if self.any_format:
                    if reason := refusal(path, self.max_bytes):
                        raise FileRefusedError(reason)
                else:
                    check_image_file(path, self.max_pixels, self.max_bytes)
            except FileRefusedError as error:
                raise UnreadableImageError(f"cannot read {printable(path)}: {error}") from None
        return results

    def __repr__(self) -> str:
        return f"{type(self).__name__}(max_pixels={self.max_pixels}, any_format={self.any_format})"
