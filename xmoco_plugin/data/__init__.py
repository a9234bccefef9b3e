# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .decode_image import UnreadableImageError, decode_image
from .labelled_sets import labelled_sets
from .labelled_share import LabelledShare
from .load_image import LoadImageOrSkip, TooManyUnreadableError
from .npz_images import NpzImages
from .pack import Pack, PackError
from .pack_writer import PackOptions, write_pack
from .packed_images import PackedImages
from .photo_patches import PhotoPatches
from .transform_audit import WatchedTransform, count_changes, view_pipelines, watch_transforms
from .unlabeled_folder import UnlabeledFolder

__all__ = [
    "LabelledShare",
    "LoadImageOrSkip",
    "NpzImages",
    "Pack",
    "PackError",
    "PackOptions",
    "PackedImages",
    "PhotoPatches",
    "TooManyUnreadableError",
    "UnlabeledFolder",
    "UnreadableImageError",
    "WatchedTransform",
    "count_changes",
    "decode_image",
    "labelled_sets",
    "view_pipelines",
    "watch_transforms",
    "write_pack",
]
