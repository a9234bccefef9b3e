# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import random
import time

import pytest

from . import feed as feeding
from .feed import SECONDS, feed
from .mutate import mutate
from .targets import ANEW, AS_NOTED, NOT_PLAIN, PLAIN, TARGETS

FILES = dict.fromkeys(TARGETS, 60) | {"image": 300, "jpeg-header": 300, "tiff": 300, "mask": 150}
# A header that is not plain is no refusal, and a broken line of a scan is looked at anew.
OUTCOMES = dict.fromkeys(TARGETS, ("refused",)) | {
    "jpeg-header": (PLAIN, NOT_PLAIN),
    "scan": (AS_NOTED, ANEW),
}


@pytest.mark.parametrize("name", TARGETS)
def test_changed_files_are_read_or_refused_with_a_sentence(name):
    fed = feed(name, FILES[name], seed=1)
    assert [(number, what) for number, what, _ in fed.findings] == []
    assert fed.slowest < SECONDS
    assert [said for said in OUTCOMES[name] if not fed.counts[said]] == []
    assert fed.grown < 500


def test_a_fault_is_found(monkeypatch):
    def crash(file):
        return 1 / (file.read_bytes() == b"never")

    monkeypatch.setitem(TARGETS, "image", TARGETS["image"]._replace(read=crash))
    (number, what, _), *_ = feed("image", 2).findings
    assert number == 0
    assert what.startswith("ZeroDivisionError")


def spin(file):
    while True:
        pass


@pytest.mark.parametrize(
    ("read", "limit", "said"),
    [
        (spin, "SECONDS", "TookTooLongError: more than 0.05 s of the processor"),
        (lambda file: time.sleep(5), "HANGS", "TookTooLongError: more than 0.05 s "),
    ],
)
def test_what_spins_and_what_waits_for_ever_are_found(monkeypatch, read, limit, said):
    monkeypatch.setitem(TARGETS, "jpeg-header", TARGETS["jpeg-header"]._replace(read=read))
    monkeypatch.setattr(feeding, limit, 0.05)
    ((_, what, _),) = feed("jpeg-header", 1).findings
    assert what.startswith(said)


def test_a_machine_that_others_use_makes_no_finding(monkeypatch):
    """A reader that gets the processor late takes time of a clock, and none of its own."""
    monkeypatch.setitem(
        TARGETS, "jpeg-header", TARGETS["jpeg-header"]._replace(read=lambda file: time.sleep(0.3))
    )
    monkeypatch.setattr(feeding, "SECONDS", 0.2)
    fed = feed("jpeg-header", 1)
    assert fed.findings == []
    assert fed.slowest < 0.2


def test_equal_seeds_give_equal_files():
    made = [mutate(b"x" * 500, random.Random("0 7"), [b"y" * 500]) for _ in range(2)]
    assert made[0] == made[1] != b"x" * 500
