# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A config's text is read as data: all of what the host writes, and nothing is run."""

import math
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
from mmengine.config import Config

from tests.read_config import read_config
from xmoco_plugin.untrusted import NotLiteral, read_settings, settings

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
NEEDS = {"detection": "mmdet", "segmentation": "mmseg"}
DEEP = 100_000
LONG = 20_000


def alike(one, other) -> bool:
    """Equal in values and in kinds: a tuple is no list."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, (list, tuple)):
        return len(one) == len(other) and all(map(alike, one, other))
    return one == other


WHOLE = sorted(str(f.relative_to(CONFIGS)) for f in CONFIGS.rglob("*.py"))


@pytest.mark.parametrize("name", [name for name in WHOLE if not name.startswith("_base_")])
def test_nothing_is_lost_of_what_the_host_writes_for_a_config(name):
    library = NEEDS.get(name.split("/")[0])
    if library and find_spec(library) is None:
        pytest.skip(f"{library} is not installed")
    cfg = read_config(CONFIGS / name)
    # Not formatted, which takes half a second; `fromfile` does so whatever it is told.
    text = Config(cfg.to_dict(), format_python_code=False).pretty_text
    assert alike(read_settings(text), cfg.to_dict())


def test_the_hosts_formatting_changes_nothing():
    cfg = Config.fromfile(CONFIGS / "plug_in" / "xmoco_mocov3-vit-s.py")
    assert alike(read_settings(cfg.pretty_text), cfg.to_dict())


def test_numbers_texts_and_containers_are_what_python_makes_of_them():
    text = """
a = dict(one=(1, ), none=(), both=dict({'a.b': 2, 3: [1.5e-3, -1, 1_000, 0x10]}), s={1, 2})
b = c = 'x' "y" \\
    r'\\d'  # a comment with ' and (
d = '''two
lines'''; e = b'raw'
f = [-inf, True, None, dict(), {}]
"""
    assert alike(
        read_settings(text),
        dict(
            a=dict(one=(1,), none=(), both={"a.b": 2, 3: [1.5e-3, -1, 1000, 16]}, s={1, 2}),
            b="xy\\d",
            c="xy\\d",
            d="two\nlines",
            e=b"raw",
            f=[-math.inf, True, None, {}, {}],
        ),
    )
    assert math.isnan(read_settings("a = nan")["a"])


def test_what_would_have_to_be_run_is_kept_as_text(tmp_path):
    mark = tmp_path / "mark"
    text = f"""
import os
a = os.mkdir({str(mark)!r})
b = dict(c=os.getcwd(), d=1)
for e in (1, 2):
    f = 3
g = 1 + 2
h = f'{{os.mkdir({str(mark)!r})}}'
i = [j for j in (1,)]
k = torch.nn.GELU
"""
    found = read_settings(text)
    assert found.pop("a").text.startswith("os.mkdir(")
    assert found.pop("h").text.startswith("f'{")
    assert found == dict(
        b=dict(c=NotLiteral("os.getcwd()"), d=1),
        g=NotLiteral("1 + 2"),
        i=[NotLiteral("j for j in (1,)")],
        k=NotLiteral("torch.nn.GELU"),
    )
    assert not mark.exists()


@pytest.mark.parametrize("text", ["model = dict(", "a = 1)", "\0", "a = 'b", None, 5, [], {}])
def test_what_is_no_config_has_no_settings(text):
    assert read_settings(text) == {}


def test_no_text_crashes_the_interpreter_or_takes_long():
    texts = [
        *(f"{bracket * DEEP}" for bracket in "[({"),
        "a = " + "[" * DEEP + "]" * DEEP,
        "a = " + "dict(b=" * DEEP + "1" + ")" * DEEP,
        *(f"a = {sign * LONG}1" for sign in ("-", "~", "not ", "lambda: ", "1+", "a.", "a**")),
        "a = f" + "()" * LONG,
        "a = " + "1 if b else " * LONG + "2",
        "if a:\n  b\n" + "elif a:\n  b\n" * LONG,
        "a = " + "9" * DEEP,
        "a = [" + "0," * (2 * DEEP) + "]",
        "a = '''" + "'\\" * DEEP,
    ]
    # In a process of its own: a crash would take the tests with it. Without the hosts, which load
    # for seconds.
    path = Path(settings.__file__)
    code = (
        f"import sys; sys.path.insert(0, {str(path.parent)!r})\n"
        "from settings import read_settings\n"
        f"for text in {texts!r}:\n    read_settings(text)\nprint('read')"
    )
    done = subprocess.run(
        [sys.executable, "-"], input=code, capture_output=True, text=True, timeout=120, check=False
    )
    assert (done.returncode, done.stdout) == (0, "read\n"), done.stderr[-500:]
