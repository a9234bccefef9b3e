# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Time and memory of ways to find hashes of 64 bits that differ in few of them.

Hashes are those of real images, of arrays that `xmoco cifar10-to-npz` wrote, and of the same images
a little cut off, until there are as many as asked for. `one_per_group` groups all of them; indexes
answer for a part of them, and their seconds are multiplied.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import cv2
import measure
import numpy as np
import torch

from xmoco_plugin.data.fingerprint import Fingerprint, fingerprint
from xmoco_plugin.data.near_duplicates import one_per_group


def hashes(files: list[Path], number: int) -> list[Fingerprint]:
    """Fingerprints of the images, then of the same ones without their first columns."""
    images = np.concatenate([np.load(file)["images"] for file in files])
    found: list[Fingerprint] = []
    for cut in range(8):
        part = images[: number - len(found), :, cut:, ::-1]
        found += [fingerprint(np.ascontiguousarray(image)) for image in part]
        if len(found) == number:
            return found
    raise SystemExit(f"{len(images)} images are too few for {number} hashes")


def by_faiss(codes: np.ndarray, asked: int, near: int) -> int:
    """Pairs that its flat index finds."""
    import faiss

    faiss.omp_set_num_threads(1)
    index = faiss.IndexBinaryFlat(64)
    index.add(codes)
    limits, _, _ = index.range_search(codes[:asked], near + 1)
    return int(limits[-1]) - asked


def by_opencv(codes: np.ndarray, asked: int, near: int) -> int:
    """Pairs that its matcher finds."""
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    found = matcher.radiusMatch(codes[:asked], codes, near + 0.5)
    return sum(map(len, found)) - asked


def by_tree(codes: np.ndarray, asked: int, near: int) -> int:
    """Pairs that scikit-learn's tree finds."""
    from sklearn.neighbors import BallTree

    bits = np.unpackbits(codes, axis=1)
    tree = BallTree(bits, metric="hamming")
    return int(tree.query_radius(bits[:asked], near / 64 + 1e-9, count_only=True).sum()) - asked


def keep(way: Callable[[], int]) -> Callable[[], int]:
    """The way: it needs no preparation."""
    return way


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser, repeats=1)
    parser.add_argument("arrays", type=Path, nargs="+", help="FILE.npz with images")
    parser.add_argument("--number", type=int, default=100_000, help="hashes")
    parser.add_argument("--asked", type=int, default=1000, help="of the indexes")
    parser.add_argument("--near", type=int, default=6, help="bits")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    cv2.setNumThreads(args.threads)
    prints = hashes(args.arrays, args.number)
    codes = np.array([np.frombuffer(one.bits.ljust(8, b"\0"), np.uint8) for one in prints])
    ways: dict[str, tuple[Callable[[], int], int]] = {
        "one_per_group": (
            lambda: sum(match is not None for match in one_per_group(prints, args.near)),
            args.number,
        )
    }
    others: dict[str, Callable[[np.ndarray, int, int], int]] = {
        "faiss": by_faiss,
        "cv2": by_opencv,
        "sklearn": by_tree,
    }
    for name, find in others.items():
        if measure.installed(name):
            ways[name] = (functools.partial(find, codes, args.asked, args.near), args.asked)
    rows = []
    for name, (way, asked) in ways.items():
        peak = measure.peak_memory(functools.partial(keep, way))
        seconds = measure.alternate({name: way}, args.repeats)[name]
        row: dict = {"way": name, "asked": asked, "found": way()}
        row["CPU s"] = float(seconds)
        row["CPU s for all"] = seconds * args.number / asked
        row["extra MB"] = peak / 1e6
        rows.append(row)
        print(row, flush=True)
    facts = measure.environment() | {name: getattr(args, name) for name in ("number", "near")}
    measure.report("Near hashes", rows, facts, args)


if __name__ == "__main__":
    main()
