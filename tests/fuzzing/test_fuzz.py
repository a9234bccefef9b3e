# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import random

import pytest

from .feed import SECONDS, feed
from .mutate import mutate
from .targets import TARGETS

FILES = dict.fromkeys(TARGETS, 60) | {"image": 300, "jpeg-header": 300, "mask": 150}


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_or_refused_with_a_sentence(name):
    fed = feed(name, FILES[name], seed=1)
    assert [(number, what) for number, what, _ in fed.findings] == []
    assert fed.slowest < SECONDS
    # A header that is not plain is no refusal, a broken line of a scan is looked at anew.
    assert fed.counts["refused"] or name in ("jpeg-header", "scan")
    assert fed.grown < 500


def test_a_fault_is_found(monkeypatch):
    def crash(file):
        return 1 / (file.read_bytes() == b"never")

    monkeypatch.setitem(TARGETS, "image", TARGETS["image"]._replace(read=crash))
    (number, what, _), *_ = feed("image", 2).findings
    assert number == 0
    assert what.startswith("ZeroDivisionError")


def test_equal_seeds_give_equal_files():
    made = [mutate(b"x" * 500, random.Random("0 7"), [b"y" * 500]) for _ in range(2)]
    assert made[0] == made[1] != b"x" * 500
