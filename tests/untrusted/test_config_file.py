# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Configs read as data: what the host would make of their literals, and no code."""

from pathlib import Path

import pytest
from mmengine.config import Config

from xmoco_plugin.untrusted import (
    FileRefusedError,
    SettingsRefusedError,
    read_config_file,
    read_whole_config,
)
from xmoco_plugin.untrusted.config_file import parse_config

LITERALS = """
'''Words alone.'''
a = dict(b=(1, 2.5), c=[None, True, -3], d={'e f': 'g', 1: (), '.ln': dict(h=1)})
i = dict({'j k': dict(l='{{ fileDirname }}')})
m = 'n' 'o'
__p = 1
"""


def written(folder: Path, text: str) -> Path:
    (folder / "config.py").write_text(text)
    return folder / "config.py"


def test_literals_are_what_running_them_would_give(tmp_path):
    found = read_config_file(written(tmp_path, LITERALS.replace("{{ fileDirname }}", "x")))
    ran = Config.fromfile(str(tmp_path / "config.py"))
    assert found.code == []
    assert repr(found.config.to_dict()) == repr(ran.to_dict())


def test_braces_are_words(tmp_path):
    config = read_whole_config(written(tmp_path, LITERALS))
    assert config["i"]["j k"]["l"] == "{{ fileDirname }}"


@pytest.mark.parametrize(
    "line",
    [
        "import os",
        "a = open('MARK', 'w')",
        "a = dict(b=__import__('os').mkdir('MARK'))",
        "a = [os.mkdir('MARK')]",
        "a = 1 + 1",
        "a = dict(**b)",
        "a = {**b}",
        "a, b = 1, 2",
        "a.b = 1",
        "for a in (1,): pass",
        "_base_ = '../elsewhere.py'",
        "filename = 'x'",
        "a = f'{b}'",
        "a = {[]: 1}",
        "a: int = open('MARK', 'w')",
    ],
)
def test_code_is_named_with_its_line_and_not_run(tmp_path, monkeypatch, line):
    monkeypatch.chdir(tmp_path)
    file = written(tmp_path, f"x = 1\n{line}\ny = 2\n")
    found = read_config_file(file)
    assert found.config.to_dict() == dict(x=1, y=2)
    assert found.code == [f"line 2: {line}"]
    with pytest.raises(SettingsRefusedError, match=r"line 2: .*is read as data"):
        read_whole_config(file)
    assert not (tmp_path / "MARK").exists()


@pytest.mark.parametrize(
    "text",
    [
        *("model = dict(", "\0", "[" * 100_000, "x = " + "-" * 100_000 + "1"),
        *("x = " + "1+" * 100_000 + "1", "x = a" + ".b" * 100_000, "x = " + "9" * 5000),
    ],
)
def test_what_is_no_python_is_a_reason_and_no_crash(text):
    with pytest.raises(FileRefusedError, match="no Python"):
        parse_config(text)
