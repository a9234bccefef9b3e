# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from .channel_crop import ChannelCrop
from .channel_reading import ChannelReading, channel_reading, read_channels
from .check_image_file import CheckImageFile
from .decode_image import UnreadableImageError, decode_image
from .jpeg_header import plain_jpeg_size
from .labelled_folder import LabelledFolder
from .labelled_sets import labelled_sets, limit_pixels
from .labelled_share import LabelledShare
from .listed_images import ListedImages
from .load_channels import LoadChannelsOrSkip
from .load_image import LoadImageOrSkip, TooManyUnreadableError
from .load_tile import LoadTileOrSkip
from .npz_images import NpzImages
from .pack import Pack, PackError
from .pack_writer import PackOptions, write_pack
from .packed_images import PackedImages
from .photo_patches import PhotoPatches
from .pictures_together import PicturesTogether
from .resident_images import ResidentImages, resident_collate
from .shard_sampler import ShardSampler
from .sharded_images import ShardedImages
from .shards import ShardError
from .tiled_images import TiledImages
from .transform_audit import WatchedTransform, count_changes, view_pipelines, watch_transforms
from .unlabeled_folder import UnlabeledFolder, find_images

__all__ = [
    "ChannelCrop",
    "ChannelReading",
    "CheckImageFile",
    "LabelledFolder",
    "LabelledShare",
    "ListedImages",
    "LoadChannelsOrSkip",
    "LoadImageOrSkip",
    "LoadTileOrSkip",
    "NpzImages",
    "Pack",
    "PackError",
    "PackOptions",
    "PackedImages",
    "PhotoPatches",
    "PicturesTogether",
    "ResidentImages",
    "ShardError",
    "ShardSampler",
    "ShardedImages",
    "TiledImages",
    "TooManyUnreadableError",
    "UnlabeledFolder",
    "UnreadableImageError",
    "WatchedTransform",
    "channel_reading",
    "count_changes",
    "decode_image",
    "find_images",
    "labelled_sets",
    "limit_pixels",
    "plain_jpeg_size",
    "read_channels",
    "resident_collate",
    "view_pipelines",
    "watch_transforms",
    "write_pack",
]
