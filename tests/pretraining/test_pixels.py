# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the network will see is said by the scan: range, depth of 16 bits, dark images."""

import json
from pathlib import Path

import numpy as np
import pytest
from mmcv.transforms import Compose
from mmengine.registry import init_default_scope
from PIL import Image

from xmoco_plugin.cli.embed import Images
from xmoco_plugin.data.labelled_sets import set_bit_depth, training_bit_depth
from xmoco_plugin.pretraining import Scan, describe, scan_images


def save(folder: Path, name: str, values, kind=np.uint16) -> str:
    path = folder / name
    Image.fromarray(np.resize(np.array(values, kind), (8, 8))).save(path)
    return str(path)


def scanned(tmp_path, *paths: str) -> tuple[Scan, str]:
    found = scan_images(paths, tmp_path / "scan.jsonl")
    return found, "\n".join(describe(found))


def test_12_bits_in_16_are_read_as_12_by_the_largest_value_of_all(tmp_path):
    found, text = scanned(
        tmp_path, save(tmp_path, "a.png", [0, 4095]), save(tmp_path, "b.png", [0, 1000])
    )
    assert found.bit_depth == 12
    assert "16-bit grey: 2 images, values up to 4,095: read as 12 bits (that value dec" in text
    assert "values as the network sees them: 0 to 255 of 255, mean 80" in text
    init_default_scope("mmpretrain")
    loaded = Images(str(tmp_path), 8, bit_depth=found.bit_depth)[0][1]["inputs"]
    assert int(loaded.max()) > 200  # at 16 bits 15; resizing blurs
    read = [dict(type="LoadImageOrSkip")]
    set_bit_depth(read, found.bit_depth)
    pixels = Compose(read)(dict(img_path=str(tmp_path / "a.png")))["img"]
    assert sorted(set(pixels.ravel().tolist())) == [0, 255]
    assert training_bit_depth(dict(train_dataloader=dict(dataset=dict(pipeline=read)))) == 12


@pytest.mark.parametrize(
    ("values", "bits"), [([0, 65535], 16), ([0, 40000], 16), ([3, 1023], 10), ([0, 9], 8)]
)
def test_the_depth_is_that_of_the_largest_value(tmp_path, values, bits):
    assert scanned(tmp_path, save(tmp_path, "a.png", values))[0].bit_depth == bits


def test_a_depth_that_is_given_is_taken_and_what_becomes_white_is_said(tmp_path):
    found, _ = scanned(tmp_path, save(tmp_path, "a.png", [0, 4095]))
    found.given_depth = 10
    text = "\n".join(describe(found))
    assert "read as 10 bits (given)" in text
    assert "values above 1,023 become white" in text


def test_images_of_8_bits_keep_16_for_those_to_come(tmp_path):
    found, text = scanned(tmp_path, save(tmp_path, "a.png", [10, 200], np.uint8))
    assert found.bit_depth == 16
    assert "16-bit" not in text
    assert "values as the network sees them: 10 to 200 of 255, mean 105" in text
    assert "dark" not in text


def test_dark_images_are_counted_as_those_of_12_bits_in_colour_are(tmp_path):
    paths = [save(tmp_path, f"{n}.png", [0, 15], np.uint8) for n in range(2)]
    _, text = scanned(tmp_path, *paths, save(tmp_path, "c.png", [0, 255], np.uint8))
    assert f"2 of 3 images are dark: no value above 31 of 255 ({paths[0]} the first)" in text
    assert "scale them before" in text


@pytest.mark.parametrize("forged", [None, [0, 1], [0, "a", 3], [0, 1e400, 3], [-1, 0, 0]])
def test_a_forged_line_of_the_cache_is_looked_at_anew(tmp_path, forged):
    path = save(tmp_path, "a.png", [0, 4095])
    scan_images([path], tmp_path / "scan.jsonl")
    line = json.loads((tmp_path / "scan.jsonl").read_text())
    line["deep"] = forged
    (tmp_path / "scan.jsonl").write_text(json.dumps(line) + "\n")
    assert scan_images([path], tmp_path / "scan.jsonl").bit_depth == 12
