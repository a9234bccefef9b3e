# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What is looked at of images before a fine-tuning, in how long, and by whom."""

import io

import numpy as np
import pytest
from PIL import Image

from xmoco_plugin import progress
from xmoco_plugin.downstream import DownstreamError, pixels, prepare
from xmoco_plugin.findings import table

from .hosts import needs_mmdet, needs_mmseg
from .test_mask_survey import folder, ready
from .test_prepare import config, data  # noqa: F401

LOAD = dict(type="LoadImageFromFile")
ANY = [dict(type="CheckImageFile", any_format=True), LOAD]
RASTER = [dict(type="LoadSingleRSImageFromFile")]
JPEG_2000 = b"\0\0\0\x0cjP  \r\n\x87\n" + bytes(200)


@pytest.fixture
def files(tmp_path):
    """Forty whole images of a format without a mark of its end."""
    content = io.BytesIO()
    Image.new("RGB", (8, 6), (90, 20, 30)).save(content, "BMP")
    found = [tmp_path / f"{number:02}.bmp" for number in range(40)]
    for file in found:
        file.write_bytes(content.getvalue())
    return found


@pytest.mark.parametrize(
    ("pipeline", "reader"),
    [
        (None, "checked"),
        ([LOAD], "checked"),
        ([dict(type="mmcv.LoadImageFromFile")], "checked"),
        ([dict(type="CheckImageFile"), LOAD], "checked"),
        ([dict(type="LoadImageOrSkip")], "checked"),
        (ANY, "OpenCV"),
        (RASTER, "other"),
        ([dict(type="CheckImageFile", any_format=True), *RASTER], "other"),
    ],
)
def test_the_reader_is_known_by_the_pipeline(pipeline, reader):
    assert pixels.reader_of({} if pipeline is None else dict(pipeline=pipeline)) == reader


@needs_mmseg
@pytest.mark.parametrize("pipeline", [ANY, RASTER])
def test_what_opencv_or_another_reader_reads_is_not_refused(tmp_path, pipeline):
    root = folder(tmp_path)
    (root / "img_dir/train/a.jpg").write_bytes(JPEG_2000)
    with pytest.raises(DownstreamError, match=r"1 of 2 images cannot be read: .*JPEG 2000"):
        ready(root)
    ready(root, pipeline=pipeline)


@needs_mmdet
def test_a_detectors_own_reader_is_heeded_too(data, tmp_path):  # noqa: F811
    (data / "train/000.jpg").write_bytes(JPEG_2000)
    cfg = config("detection/faster-rcnn_r18-fpn_small.py", data, tmp_path / "p.pth")
    with pytest.raises(DownstreamError, match=r"1 of 3 images cannot be read: .*JPEG 2000"):
        prepare(cfg)
    cfg = config("detection/faster-rcnn_r18-fpn_small.py", data, tmp_path / "p.pth")
    cfg.train_dataloader.dataset.pipeline = ANY
    prepare(cfg)


def test_no_more_than_the_stated_number_is_opened_and_few_are_decoded(files, monkeypatch):
    seen = []
    damage = pixels._damage
    monkeypatch.setattr(
        pixels, "_damage", lambda f, decode=False: seen.append(decode) or damage(f, decode)
    )
    monkeypatch.setattr(pixels, "OPENED", 21)
    monkeypatch.setattr(pixels, "LOOKED_AT", 4)
    assert pixels.check_whole(files) == []
    assert (seen.count(False), seen.count(True)) == (20, 4)


def test_those_that_lack_a_mark_and_are_not_decoded_are_counted(tmp_path, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    found = [tmp_path / f"{number}.jpg" for number in range(5)]
    for file in found:
        Image.fromarray(noise).save(file)
        file.write_bytes(file.read_bytes() + bytes(5000))  # as a phone's film behind the photo
    assert pixels.check_whole(found) == []
    monkeypatch.setattr(pixels, "LOOKED_AT", 2)
    said = table(pixels.check_whole(found, "train"))
    assert said.startswith("note  train    5 of 5 images lack the mark of their end")
    assert "2 of them were decoded and are whole" in said
    found[0].write_bytes(found[0].read_bytes()[:900])
    with pytest.raises(DownstreamError, match=r"1 of 5 images .*; 3 more lack the mark"):
        pixels.check_whole(found)


def test_a_look_that_takes_long_says_how_far_it_is(files, monkeypatch, capsys):
    pixels.check_whole(files, "train")
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "FIRST_SECONDS", 0.0)
    pixels.check_whole(files, "train")
    assert "train: looking at the images' ends: 1 of 40\n" in capsys.readouterr().err


def test_one_process_of_each_machine_looks(files, monkeypatch):
    files[0].write_bytes(b"BM")
    for name, rank in (("RANK", "3"), ("LOCAL_RANK", "1")):
        monkeypatch.setenv(name, rank)
    assert [*pixels.survey_pixels(files, "train")] == []
    monkeypatch.setenv("LOCAL_RANK", "0")
    with pytest.raises(DownstreamError, match="1 of 40 images cannot be read"):
        list(pixels.survey_pixels(files, "train"))
