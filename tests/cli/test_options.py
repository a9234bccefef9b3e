# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Options that are read before the hosts are there agree with what the hosts and rooms have."""

import argparse
from pathlib import Path

import pytest
from mmengine.config import DictAction

from xmoco_plugin import export
from xmoco_plugin.cli import start
from xmoco_plugin.cli.options import evaluate, export_backbone, parse, pretrain
from xmoco_plugin.cli.options.compare import starts
from xmoco_plugin.cli.options.shared import no_config
from xmoco_plugin.evaluation import average_precision, linear_probe, protocols
from xmoco_plugin.pretraining import LOCK
from xmoco_plugin.untrusted.image_file import MAX_PIXELS

LINES = [
    [],
    ["--cfg-options", "a=1"],
    ["--cfg-options", "a.b=1e-3", "c=True", "d=None", "e=x=y", "f="],
    ["--cfg-options", "a=[1,2]", "b=(1,[2,x])", "c=1,2", "d='q'", "--cfg-options", "a=5", "g=[]"],
]


@pytest.mark.parametrize("words", LINES, ids=lambda words: " ".join(words[1:]) or "none")
def test_config_options_are_read_as_mmengines_action_reads_them(words, tmp_path):
    (tmp_path / "c.py").touch()
    theirs = argparse.ArgumentParser()
    theirs.add_argument("--cfg-options", nargs="+", action=DictAction)
    args = parse("train", [str(tmp_path / "c.py"), *words])
    start.read_config_options(args)
    assert args.cfg_options == theirs.parse_args(words).cfg_options


def test_a_config_option_that_the_host_cannot_read_is_named():
    args = argparse.Namespace(cfg_options=["a=1", "b=[1,[2]"])
    with pytest.raises(ValueError, match=r"--cfg-options b=\[1,\[2\]: Imbalanced brackets"):
        start.read_config_options(args)


def test_what_the_options_repeat_is_what_the_rooms_have():
    assert export_backbone.TARGETS == export.TARGETS
    assert export_backbone.LAYOUTS == export.SOURCES
    assert tuple(protocols.PROTOCOLS) == evaluate.PROTOCOLS
    assert (evaluate.KS, evaluate.RECALLS) == (protocols.KS, protocols.RECALLS)
    assert tuple(protocols.Settings.temperatures) == evaluate.TEMPERATURES
    assert evaluate.LRS == linear_probe.LRS
    assert evaluate.WEIGHT_DECAYS == linear_probe.WEIGHT_DECAYS
    assert evaluate.RULES == average_precision.RULES
    assert pretrain.LOCK == LOCK
    assert pretrain.DEFAULTS["max_pixels"] == f"{MAX_PIXELS:,}"
    assert parse("pack_images", ["pack", "F", "OUT"]).max_pixels == MAX_PIXELS


def test_an_option_that_can_do_nothing_is_refused(tmp_path, capsys):
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--keep-going"]
    with pytest.raises(SystemExit):
        parse("pretrain", words)
    assert "--keep-going: only a run with --init and --labels" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["test", "c.py", "x.pth", "--out"], ["train", "c.py", "--test-out"]], ids=" ".join
)
def test_a_file_whose_format_no_ending_names_is_refused_before_the_work(words, tmp_path, capsys):
    (tmp_path / "c.py").touch()
    command, *rest = words
    rest = [str(tmp_path / word) if word.endswith((".py", ".pth")) else word for word in rest]
    with pytest.raises(SystemExit):
        parse(command, [*rest, "metrics.txt"])
    assert "ends in none of .json, .yaml" in capsys.readouterr().err


def test_a_wrong_start_of_a_pretraining_names_every_mistake_at_once(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        parse("pretrain", ["--epochs", "0", "--seed", "x", "--labels", "l", "--init", "i"])
    assert end.value.code == 2
    said = capsys.readouterr().err
    assert said.startswith("error: 6 options need a change:\n")
    for option in ("--data", "--out", "--labels l", "--init", "--epochs 0", "--seed x"):
        assert f"\n  - {option}" in said


def test_numbers_of_a_pretraining_are_given_as_numbers(tmp_path):
    words = ["--data", str(tmp_path), "--out", str(tmp_path / "run"), "--lr", "0.1", "--gpus", "2"]
    assert parse("pretrain", words).given == {"lr": 0.1, "gpus": 2}


def test_names_of_starts_may_hold_a_hyphen():
    assert starts("scratch,r18-coco=a.pth") == {"scratch": "scratch", "r18-coco": "a.pth"}
    with pytest.raises(argparse.ArgumentTypeError, match="letters, figures, _ and -"):
        starts("scratch,-a=a.pth")


def test_a_config_that_is_not_there_is_answered_with_the_folder_of_those_that_are():
    folder = no_config("no.py").rpartition(" are in ")[2].rstrip(".")
    assert (Path(folder) / "detection" / "faster-rcnn_r18-fpn_small.py").is_file()
