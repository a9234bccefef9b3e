# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A set of images as shards: plain tars in a folder or a bucket, and an index beside them."""

from .cache import GB, ROOT, DamagedShardError
from .errors import ShardError
from .index import INDEX, read_index
from .order import MIXED, epoch_order
from .place import check_url, is_remote, plain_url
from .reader import ShardSet
from .store import Store
from .writer import SHARD_MB, write_shards

__all__ = [
    "GB",
    "INDEX",
    "MIXED",
    "ROOT",
    "SHARD_MB",
    "DamagedShardError",
    "ShardError",
    "ShardSet",
    "Store",
    "check_url",
    "epoch_order",
    "is_remote",
    "plain_url",
    "read_index",
    "write_shards",
]
