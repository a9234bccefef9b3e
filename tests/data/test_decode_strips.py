# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import sys

import numpy as np

from xmoco_plugin.data import decode_image

from .encoders import encode, scene, write_odd_files


def test_an_image_that_is_converted_in_strips_is_the_same(tmp_path, monkeypatch):
    names = write_odd_files(tmp_path)
    ramp = np.arange(3000, dtype=np.int32).reshape(50, 60) * 100 - 5000
    (tmp_path / "wide.tif").write_bytes(encode(ramp, "TIFF"))
    (tmp_path / "plain.jpg").write_bytes(encode(scene(), "JPEG"))
    contents = {name: (tmp_path / name).read_bytes() for name in [*names, "wide.tif", "plain.jpg"]}
    whole = {name: decode_image(content) for name, content in contents.items()}
    monkeypatch.setattr(sys.modules[decode_image.__module__], "STRIP", 500)
    for name, content in contents.items():
        np.testing.assert_array_equal(decode_image(content), whole[name], err_msg=name)
