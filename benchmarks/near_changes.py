# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a perceptual hash finds again after a change, and what it takes for the same by mistake.

Beside ours, imagehash's pHash and dHash where it is installed.
"""

import argparse
import functools
from collections.abc import Callable
from pathlib import Path

import cv2
import measure
import numpy as np

from xmoco_plugin.data import decode_image, find_images
from xmoco_plugin.data.fingerprint import BITS, fingerprint

NEAR = (4, 6, 8, 10)


def jpeg(pixels: np.ndarray, quality: int) -> np.ndarray:
    """The picture after JPEG."""
    stored = cv2.imencode(".jpg", pixels, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(stored, cv2.IMREAD_COLOR))


def cut(pixels: np.ndarray, share: float) -> np.ndarray:
    """The picture without a share of each side, on all four sides."""
    height, width = pixels.shape[:2]
    top, left = int(height * share), int(width * share)
    return pixels[top : height - top, left : width - left]


def turned(pixels: np.ndarray, degrees: float) -> np.ndarray:
    """The picture turned about its middle."""
    height, width = pixels.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), degrees, 1)
    return cv2.warpAffine(pixels, matrix, (width, height), flags=cv2.INTER_CUBIC)


CHANGES: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "JPEG 75": lambda p: jpeg(p, 75),
    "JPEG 30": lambda p: jpeg(p, 30),
    "half the size": lambda p: cv2.resize(p, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "light x 1.3": lambda p: cv2.convertScaleAbs(p, alpha=1.3),
    "contrast x 0.7": lambda p: cv2.convertScaleAbs(p, alpha=0.7, beta=38),
    "moved by 3 %": lambda p: p[:, int(p.shape[1] * 0.03) :],
    "cut 2 %": lambda p: cut(p, 0.02),
    "cut 5 %": lambda p: cut(p, 0.05),
    "cut 10 %": lambda p: cut(p, 0.1),
    "turned 2 degrees": lambda p: turned(p, 2),
    "mirrored": lambda p: p[:, ::-1],
}


def ours(pixels: np.ndarray) -> np.ndarray:
    """Bits of our hash."""
    bits = fingerprint(np.ascontiguousarray(pixels)).bits.ljust(BITS // 8, b"\0")
    return np.unpackbits(np.frombuffer(bits, np.uint8))


def theirs(name: str, pixels: np.ndarray) -> np.ndarray:
    """Bits of a hash of imagehash."""
    import imagehash
    from PIL import Image

    return getattr(imagehash, name)(Image.fromarray(pixels[:, :, ::-1])).hash.ravel().astype("u1")


def ways() -> dict[str, Callable[[np.ndarray], np.ndarray]]:
    """Hashes by name."""
    found: dict[str, Callable[[np.ndarray], np.ndarray]] = {"ours": ours}
    if measure.installed("imagehash"):
        found |= {f"imagehash {n}": functools.partial(theirs, n) for n in ("phash", "dhash")}
    return found


def all_of(way: Callable[[np.ndarray], np.ndarray], images: list[np.ndarray]) -> list[np.ndarray]:
    """The hash of each image."""
    return [*map(way, images)]


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser, repeats=1)
    parser.add_argument("folder", type=Path, help="of unlike images")
    args = parser.parse_args()
    cv2.setNumThreads(args.threads)
    names = find_images(str(args.folder))
    images = [decode_image((args.folder / name).read_bytes()) for name in names]
    rows, times, codes = [], [], {}
    for name, way in ways().items():
        seconds = measure.alternate({name: functools.partial(all_of, way, images)}, 1)[name]
        bits = codes[name] = np.stack([way(image) for image in images])
        apart = np.stack([(bits != one).sum(axis=1) for one in bits])
        pairs = apart[np.triu_indices(len(bits), 1)]
        row: dict = {"hash": name, "ms an image": 1000 * seconds / len(images)}
        row["nearest two, bits"] = int(pairs.min())
        row |= {f"pairs within {near}": int((pairs <= near).sum()) for near in NEAR}
        row["bits unlike ours"] = float((bits != codes["ours"]).sum(axis=1).mean())
        times.append(row)
        for change, function in CHANGES.items():
            changed = np.stack([way(function(image)) for image in images])
            far = (changed != bits).sum(axis=1)
            row = {"change": change, "by": name, "median bits": float(np.median(far))}
            row |= {f"within {near}, %": 100 * float((far <= near).mean()) for near in NEAR}
            rows.append(row)
    facts = measure.environment() | {"images": len(images)}
    measure.report("Hashes of changed images", times + rows, facts, args)


if __name__ == "__main__":
    main()
