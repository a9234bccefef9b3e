# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.


class ShardError(ValueError):
    """A set of shards that cannot be read or written; the message says what to do."""
