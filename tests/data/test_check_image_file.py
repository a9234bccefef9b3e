# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A host's reading of files is preceded by a look at them."""

import os

import pytest
from mmpretrain.registry import DATASETS
from PIL import Image

from xmoco_plugin.data import CheckImageFile, UnreadableImageError
from xmoco_plugin.untrusted import guard_reading

from .encoders import encode, scene


def dataset(folder, *steps):
    config = dict(
        type="CustomDataset",
        data_root=str(folder),
        ann_file="list.txt",
        with_label=False,
        pipeline=[*steps, dict(type="LoadImageFromFile"), dict(type="PackInputs")],
    )
    guard_reading(config)
    return DATASETS.build(config)


@pytest.mark.timeout(60)
def test_a_hosts_dataset_names_what_its_own_reading_would_hang_at_or_decode(tmp_path):
    content = encode(scene(), "JPEG")
    (tmp_path / "good.jpg").write_bytes(content)
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "zero.jpg").symlink_to("/dev/zero")
    (tmp_path / "post.jpg").write_bytes(b"%!PS-Adobe-3.0\n")
    (tmp_path / "cut.png").write_bytes(encode(scene(), "PNG")[:20])
    Image.new("1", (13_000, 13_000)).save(tmp_path / "bomb.png")
    reasons = {
        "pipe.jpg": "not a regular file: a named pipe",
        "zero.jpg": "not a regular file: a device",
        "post.jpg": "PostScript, not one of the formats read",
        "cut.png": "truncated",
        "bomb.png": "above the limit of 128000000 pixels",
    }
    (tmp_path / "list.txt").write_text("\n".join(["good.jpg", *reasons]))
    found = dataset(tmp_path)
    assert found[0]["inputs"].shape == (3, 48, 64)
    for index, (name, reason) in enumerate(reasons.items(), 1):
        with pytest.raises(UnreadableImageError, match=f"{name}: .*{reason}"):
            found[index]


def test_a_mask_is_looked_at_too_and_every_format_can_be_let_through(tmp_path):
    (tmp_path / "a.jpg").write_bytes(encode(scene(), "JPEG"))
    (tmp_path / "a.jp2").write_bytes(b"\0\0\0\x0cjP  \r\n\x87\n")
    sample = dict(img_path=str(tmp_path / "a.jpg"), seg_map_path=str(tmp_path / "a.jp2"))
    with pytest.raises(UnreadableImageError, match=r"a\.jp2: JPEG 2000, not one of"):
        CheckImageFile()(sample)
    assert CheckImageFile(any_format=True)(sample) == sample
    with pytest.raises(UnreadableImageError, match=r"a\.jpg: .* the limit is 100 bytes"):
        CheckImageFile(max_bytes=100, any_format=True)(sample)
