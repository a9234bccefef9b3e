# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Fingerprints of images, and what is the same or nearly by them."""

import cv2
import numpy as np
import pytest

from xmoco_plugin.data import near_duplicates
from xmoco_plugin.data.fingerprint import Fingerprint, fingerprint
from xmoco_plugin.data.near_duplicates import Match, matches, one_per_group


def picture(seed: int, height: int = 120, width: int = 160) -> np.ndarray:
    """Soft blobs, as a photograph has them."""
    noise = np.random.default_rng(seed).normal(size=(height // 8, width // 8, 3)).astype(np.float32)
    soft = cv2.GaussianBlur(cv2.resize(noise, (width, height)), (0, 0), 6)
    return cv2.normalize(soft, None, 0, 255, cv2.NORM_MINMAX).astype(np.uint8)


def apart(one: np.ndarray, other: np.ndarray) -> int:
    first, second = (int.from_bytes(fingerprint(pixels).bits, "big") for pixels in (one, other))
    return (first ^ second).bit_count()


def of_bits(*numbers: int) -> list[Fingerprint]:
    """Prints of unlike pixels with these hashes."""
    return [Fingerprint(bytes([i]) * 16, n.to_bytes(8, "big")) for i, n in enumerate(numbers)]


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    return cv2.imdecode(
        cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1], cv2.IMREAD_COLOR
    )


@pytest.mark.parametrize(
    "change",
    [
        lambda p: jpeg(p, 30),
        lambda p: cv2.resize(p, (80, 60), interpolation=cv2.INTER_AREA),
        lambda p: (p * 0.7 + 30).astype(np.uint8),
        lambda p: p[1:-1, 2:-2],
    ],
    ids=["JPEG", "half the size", "less contrast", "a little cut off"],
)
def test_a_picture_that_was_stored_again_is_near_and_another_is_far(change):
    assert all(apart(picture(seed), change(picture(seed))) <= 6 for seed in range(8))
    assert min(apart(picture(seed), change(picture(seed + 50))) for seed in range(8)) > 12


def test_equal_pixels_have_one_digest_whatever_their_memory_and_shape_counts():
    pixels = picture(0)
    strided = np.zeros((120, 320, 3), np.uint8)[:, ::2]
    strided[:] = pixels
    assert fingerprint(strided) == fingerprint(pixels)
    changed = pixels.copy()
    changed[5, 5, 0] ^= 1
    assert fingerprint(changed).digest != fingerprint(pixels).digest
    flat = np.full((4, 8, 3), 7, np.uint8)
    assert fingerprint(flat).digest != fingerprint(flat.reshape(8, 4, 3)).digest


def test_a_picture_of_nearly_one_colour_has_no_bits_to_be_like_another():
    flat = [np.full((40, 40, 3), value, np.uint8) for value in (10, 200, 200)]
    flat[2][:2, :2] = 203
    prints = [fingerprint(pixels) for pixels in flat]
    assert [one.bits for one in prints] == [b"", b"", b""]
    assert one_per_group(prints, 16) == [None, None, None]
    assert one_per_group([prints[0], prints[0]], 16) == [None, Match(0, None)]
    assert matches(prints[:2], prints[1:], 16) == [None, Match(0, None)]


def test_every_image_that_is_left_out_is_near_the_one_that_is_kept():
    # A pan: each frame is two bits from the one before it.
    frames = of_bits(*((1 << 2 * i) - 1 for i in range(10)))
    found = one_per_group(frames, 4)
    assert [row for row, match in enumerate(found) if match is None] == [0, 3, 6, 9]
    assert found[1:3] == [Match(0, 2), Match(0, 4)]
    assert one_per_group(frames, 1) == [None] * 10


def test_copies_belong_to_what_their_first_is_like():
    one, near = of_bits(0, 3)
    assert one_per_group([one, near, near, one], 2) == [
        None,
        Match(0, 2),
        Match(0, 2),
        Match(0, None),
    ]
    assert one_per_group([one, near, near, one], None) == [
        None,
        None,
        Match(1, None),
        Match(0, None),
    ]


@pytest.mark.parametrize("counts", [True, False], ids=["numpy's count", "without it"])
def test_groups_and_matches_are_those_of_the_slow_definition(counts, monkeypatch):
    if not counts:
        monkeypatch.delattr(np, "bitwise_count", raising=False)
    rng = np.random.default_rng(0)
    centres = rng.integers(0, 1 << 63, 12)
    numbers = [
        int(c) ^ (1 << int(b)) ^ (1 << int(d))
        for c in centres
        for b, d in rng.integers(0, 63, (6, 2))
    ]
    prints = of_bits(*numbers)
    kept: list[int] = []
    expected = []
    for row, number in enumerate(numbers):
        like = next((k for k in kept if (numbers[k] ^ number).bit_count() <= 3), None)
        expected.append(None if like is None else Match(like, (numbers[like] ^ number).bit_count()))
        kept += [row] if like is None else []
    assert one_per_group(prints, 3) == expected
    assert 12 < len(kept) < len(numbers)
    known, asked = prints[::2], prints[1::2]
    for one, match in zip(asked, matches(asked, known, 3), strict=True):
        gaps = [
            (int.from_bytes(one.bits, "big") ^ int.from_bytes(k.bits, "big")).bit_count()
            for k in known
        ]
        best = min(gaps)
        assert match == (Match(gaps.index(best), best) if best <= 3 else None)


def test_nothing_is_like_nothing():
    assert one_per_group([], 6) == []
    assert matches(of_bits(1), [], 6) == [None]
    assert near_duplicates.matches([], of_bits(1), 6) == []
