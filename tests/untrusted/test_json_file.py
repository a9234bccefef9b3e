# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math
import os

import pytest

from xmoco_plugin.untrusted import FileRefusedError, read_json, read_json_object

BROKEN = {
    b"": "it is empty",
    b"{": "line 1, column 2",
    b'{"a": 1}\n trailing': "line 2, column 2",
    b"[" * 100_000 + b"]" * 100_000: "nested too deep",
    b'{"a":' * 100_000: "nested too deep",
    b"\xff\xfe\x00": "byte 0 is not UTF-8",
    b'{"a": NaN}': "NaN is not finite",
    b"[-Infinity]": "-Infinity is not finite",
    b"[1e999]": "1e999 is not finite",
    b"[1" + b"0" * 399 + b"]": "(400 characters) is not finite or too large",
    b"[-" + b"9" * 6000 + b"]": "(6,001 characters)",
}


@pytest.mark.parametrize("content", BROKEN, ids=lambda c: c[:12].decode("latin1") or "empty")
def test_what_is_no_json_is_refused_with_its_place(tmp_path, content):
    (tmp_path / "f.json").write_bytes(content)
    with pytest.raises(FileRefusedError) as refusal:
        read_json(tmp_path / "f.json")
    assert BROKEN[content] in str(refusal.value)
    assert len(str(refusal.value)) < 150


def test_numbers_in_range_are_what_json_says(tmp_path):
    text = '{"a": [1, -2.5, 1e300, 9007199254740993, 1.5E+2], "e100": "' + "7" * 400 + '"}'
    (tmp_path / "f.json").write_text("\ufeff" + text, encoding="utf-8")
    found = read_json(tmp_path / "f.json")
    assert found == {"a": [1, -2.5, 1e300, 9007199254740993, 150.0], "e100": "7" * 400}
    assert [type(number) for number in found["a"][:4]] == [int, float, float, int]


def test_numbers_that_are_not_finite_can_be_taken(tmp_path):
    (tmp_path / "f.json").write_text("[NaN, Infinity, -1e999, " + "9" * 5000 + ", 3]")
    nan, *others = read_json(tmp_path / "f.json", finite=False)
    assert math.isnan(nan)
    assert others == [math.inf, -math.inf, math.inf, 3]


@pytest.mark.parametrize(
    ("content", "kind"), [("[]", "a list"), ("null", "null"), ("3", "a number")]
)
def test_an_object_is_asked_for_by_kind(tmp_path, content, kind):
    (tmp_path / "f.json").write_text(content)
    with pytest.raises(FileRefusedError, match=f"{kind}, not an object"):
        read_json_object(tmp_path / "f.json")


@pytest.mark.timeout(20)
def test_a_pipe_and_a_file_above_the_limit_are_refused(tmp_path):
    os.mkfifo(tmp_path / "pipe.json")
    (tmp_path / "long.json").write_text("[" + "1," * 100 + "1]")
    with pytest.raises(FileRefusedError, match="a named pipe"):
        read_json(tmp_path / "pipe.json")
    with pytest.raises(FileRefusedError, match="the limit is 50 bytes"):
        read_json(tmp_path / "long.json", limit=50)
