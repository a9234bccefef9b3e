# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .decode_image import UnreadableImageError, decode_image
from .labelled_sets import labelled_sets
from .labelled_share import LabelledShare
from .load_image import LoadImageOrSkip, TooManyUnreadableError
from .npz_images import NpzImages
from .photo_patches import PhotoPatches
from .unlabeled_folder import UnlabeledFolder

__all__ = [
    "LabelledShare",
    "LoadImageOrSkip",
    "NpzImages",
    "PhotoPatches",
    "TooManyUnreadableError",
    "UnlabeledFolder",
    "UnreadableImageError",
    "decode_image",
    "labelled_sets",
]
