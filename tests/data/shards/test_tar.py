# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Tars that lead a reader astray."""

import numpy as np
import pytest

from xmoco_plugin.data.shards import ShardError
from xmoco_plugin.data.shards.tar import find_files, make_tar


@pytest.mark.parametrize("size", [b"-0000001000\0", b"+0000001000\0", b"0_000000001\0", b"\0" * 12])
def test_a_size_that_is_no_octal_number_ends_the_reading(size):
    tar = bytearray(make_tar([("a.png", b"x"), ("b.png", b"y")]))
    tar[124:136] = size  # -512 would lead back to this header, for ever
    with pytest.raises(ShardError, match="no whole tar: byte 0 begins no file"):
        find_files(np.frombuffer(tar, np.uint8))
