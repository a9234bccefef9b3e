# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Whole files made into others: bytes turned, cut, doubled, numbers at limits, words put in."""

import random

EDGES = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)
WORDS = [
    *(b"NaN", b"Infinity", b"-1e999", b"1e400", b"null", b"true", b"[]", b"{}", b'""', b"-1"),
    *(b"9" * 400, b"[" * 3000, b'{"a":' * 500, b"(" * 300, b"\\ud800", b"\xff\xfe", b"\0", b"\n"),
    *(b"__import__('os')", b"dict(type='x')", b"--", b"=", b",", b"%s", b"{{_base_}}", b"\r"),
]


def mutate(content: bytes, draw: random.Random, others: list[bytes]) -> bytes:
    """One to eight changes of a file.

    Args:
        content: Of a whole file.
        draw: What is drawn from; equal states give equal files.
        others: Whole files, parts of which may come in.
    """
    made = bytearray(content)
    for _ in range(draw.choice((1, 1, 1, 2, 3, 8))):
        draw.choice(WAYS)(made, draw, others)
    return bytes(made)


def _place(made: bytearray, draw: random.Random) -> int:
    # Headers decide more than pixels do.
    return draw.randrange(min(len(made), 64) if draw.random() < 0.4 else len(made)) if made else 0


def _turn(made: bytearray, draw: random.Random, others: list[bytes]) -> None:
    if made:
        made[_place(made, draw)] ^= 1 << draw.randrange(8)


def _write(made: bytearray, draw: random.Random, others: list[bytes]) -> None:
    size, at = draw.choice((1, 2, 4)), _place(made, draw)
    number = draw.choice(EDGES) & ((1 << 8 * size) - 1)
    made[at : at + size] = number.to_bytes(size, draw.choice(("little", "big")))


def _cut(made: bytearray, draw: random.Random, others: list[bytes]) -> None:
    del made[_place(made, draw) :]


def _take_out(made: bytearray, draw: random.Random, others: list[bytes]) -> None:
    at = _place(made, draw)
    del made[at : at + draw.choice((1, 2, 16, 200))]


def _double(made: bytearray, draw: random.Random, others: list[bytes]) -> None:
    at = _place(made, draw)
    made[at:at] = made[at : at + draw.choice((1, 4, 64, 1000))] * draw.choice((1, 2, 20))


def _join(made: bytearray, draw: random.Random, others: list[bytes]) -> None:
    other, at = draw.choice(others), _place(made, draw)
    start = draw.randrange(len(other) + 1)
    made[at:] = other[start:]


def _put_word(made: bytearray, draw: random.Random, others: list[bytes]) -> None:
    at = _place(made, draw)
    made[at : at + draw.choice((0, 1, 4))] = draw.choice(WORDS)


WAYS = (_turn, _turn, _write, _write, _cut, _take_out, _double, _join, _put_word)
