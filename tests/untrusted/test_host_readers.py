# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the hosts' datasets would run when they read data is refused by its settings."""

import mmengine
import pytest

from xmoco_plugin.untrusted import (
    FileRefusedError,
    SettingsRefusedError,
    check_voc,
    guard_reading,
    refuse_code_in_data,
)

REFUSED = {
    "a pickle": dict(type="BaseDataset", ann_file="a/b.pkl"),
    "a pickle in capitals": dict(type="CocoDataset", ann_file="b.PICKLE"),
    "proposals": dict(dataset=dict(type="CocoDataset", proposal_file="rpn.pkl")),
    "objects in YAML": dict(datasets=[dict(type="BaseDataset", ann_file="a.yml")]),
    "a dataset that unpickles": dict(type="mmdet.RefCocoDataset", split_file="refs(unc).p"),
    "a decoder": dict(pipeline=[dict(type="LoadBiomedicalData", decode_backend="pickle")]),
    "an expression": dict(
        pipeline=[dict(type="torchvision/ConvertImageDtype", dtype="float if f() else int")]
    ),
}


@pytest.mark.parametrize("settings", REFUSED.values(), ids=REFUSED)
def test_a_setting_by_which_a_host_would_run_data_is_refused(settings):
    with pytest.raises(SettingsRefusedError, match=r"dataset.* as code"):
        refuse_code_in_data(settings, "dataset")


def test_what_a_host_reads_as_data_is_let_through():
    refuse_code_in_data(
        dict(
            dataset=dict(type="CocoDataset", ann_file="a.json", data_prefix=dict(img="x.pkl/")),
            pipeline=[dict(type="torchvision/ConvertImageDtype", dtype="float32")],
        )
    )


def test_the_host_does_run_what_a_yaml_file_holds(tmp_path):
    """So that the refusal is dropped when it need not be any more."""
    mark = tmp_path / "mark"
    (tmp_path / "a.yaml").write_text(f"!!python/object/apply:os.mkdir ['{mark}']\n")
    mmengine.load(str(tmp_path / "a.yaml"))
    assert mark.exists()


def test_reading_is_checked_in_every_pipeline_once():
    load, check = dict(type="LoadImageFromFile"), dict(type="CheckImageFile")
    own = [dict(type="CheckImageFile", any_format=True), dict(type="LoadImageFromFile")]
    loader = dict(
        dataset=dict(
            datasets=[
                dict(pipeline=[dict(type="A"), dict(load), dict(type="B")]),
                dict(pipeline=list(own)),
                dict(pipeline=[dict(type="LoadImageOrSkip")]),
            ]
        )
    )
    assert guard_reading(loader)
    first, second, third = (data["pipeline"] for data in loader["dataset"]["datasets"])
    assert first == [dict(type="A"), check, load, dict(type="B")]
    assert second == own
    assert third == [dict(type="LoadImageOrSkip")]
    assert not guard_reading(loader)


BOMB = """<?xml version="1.0"?><!DOCTYPE a [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]>
<annotation><object><name>&b;</name></object></annotation>"""


def test_annotations_of_voc_that_declare_entities_or_are_too_large_are_refused(tmp_path):
    (tmp_path / "list.txt").write_text("good\n\nabsent\nbad\n")
    (tmp_path / "good.xml").write_text("<annotation><!-- by hand --></annotation>")
    check_voc(tmp_path / "list.txt", tmp_path)
    (tmp_path / "bad.xml").write_text(BOMB)
    with pytest.raises(FileRefusedError, match=r"bad\.xml: it declares a type or entities"):
        check_voc(tmp_path / "list.txt", tmp_path)
    with open(tmp_path / "bad.xml", "wb") as file:
        file.truncate(60 << 30)
    with pytest.raises(FileRefusedError, match=r"bad\.xml: 64\.4 GB, the limit is 16\.8 MB"):
        check_voc(tmp_path / "list.txt", tmp_path)


@pytest.mark.parametrize(
    "content",
    [
        BOMB.encode("utf-16"),
        BOMB.encode("utf-16-be"),
        BOMB.replace('"1.0"', '"1.0" encoding="utf-7"').replace("<!", "+ADwAIQ-").encode(),
        b"<?xml version='1.0'\nencoding = 'cp037'?><annotation/>",
    ],
)
def test_annotations_in_an_encoding_that_hides_entities_are_refused(tmp_path, content):
    (tmp_path / "list.txt").write_text("good\nbad\n")
    (tmp_path / "good.xml").write_text('<?xml version="1.0" encoding="UTF-8"?><annotation/>')
    (tmp_path / "bad.xml").write_bytes(content)
    with pytest.raises(FileRefusedError, match=r"bad\.xml: it is not UTF-8"):
        check_voc(tmp_path / "list.txt", tmp_path)
