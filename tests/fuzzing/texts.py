# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Texts of strangers that are parsed: configs, options, VOC's annotations."""

import argparse
from pathlib import Path

from xmoco_plugin.cli import options
from xmoco_plugin.cli.start import read_config_options
from xmoco_plugin.downstream.voc_survey import VocList, survey_voc
from xmoco_plugin.pretraining import run_settings


def configs(folder: Path) -> list[bytes]:
    text = (
        "work_dir = '/x'\ntrain_cfg = dict(max_epochs=3, type='EpochBasedTrainLoop')\n"
        "model = dict(type='XMoCo', queue_len=8, momentum=0.001)\n"
        "train_dataloader = dict(batch_size=4, dataset=dict(type='ListedImages', ann_file='f'))\n"
        "custom_hooks = [dict(type='HealthHook', interval=2)]\n"
        "experiment_name = 'a\\n{b}' \"c\"\n"
        "randomness = dict(seed=-1.5e3, more=[None, True, (1,)])\n"
    )
    return [text.encode(), text.replace("=", " = ").encode()]


def read_config(file: Path) -> None:
    run_settings(file.parent)


def words(folder: Path) -> list[bytes]:
    return [b"a.b=1", b"a=[1,2,(3,4)]", b"model.x=1e-3", b"a=b,c,'d'", b'a="(1,2),[3]"', b"k=None"]


def read_words(file: Path) -> None:
    """Of --cfg-options, as the shell hands them over."""
    args = argparse.Namespace(cfg_options=None)
    parser = argparse.ArgumentParser(exit_on_error=False)
    parser.add_argument("--cfg-options", nargs="+", action=options.parser.ConfigOptions)
    text = file.read_bytes().decode("utf-8", "surrogateescape").replace("\0", "")
    args = parser.parse_args(["--cfg-options", text])
    read_config_options(args)


def annotations_of_voc(folder: Path) -> list[bytes]:
    box = "<bndbox><xmin>1</xmin><ymin>2</ymin><xmax>30</xmax><ymax>4.5</ymax></bndbox>"
    thing = f"<object><name>cat</name><difficult>0</difficult>{box}</object>"
    size = "<size><width>32</width><height>24</height><depth>3</depth></size>"
    text = f"<annotation><filename>a.jpg</filename>{size}{thing}{thing}</annotation>"
    return [text.encode(), f'<?xml version="1.0" encoding="utf-8"?>\n{text}'.encode()]


def read_voc(file: Path) -> None:
    (file.parent / "list.txt").write_text("a\n")
    (file.parent / "a.jpg").touch()
    voc = VocList(file.parent / "list.txt", file.parent, file.parent)
    survey_voc(voc, ["cat", "dog"], "train", 8, "other")
