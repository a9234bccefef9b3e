# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What labels are worth by how their images were picked: at random, farthest first, or typical.

Reads features that `xmoco embed` wrote of two folders with a folder for each class: images to pick
from, and others to judge by. Each seed picks from a pool of its own. What was picked, with its
labels, trains a linear classifier and is asked by its nearest neighbour, on the same features.
"""

import argparse
import statistics
import time
import warnings
from pathlib import Path

import measure
import numpy as np
import torch
from sklearn.linear_model import LogisticRegression

from xmoco_plugin.evaluation.selection import k_centre, typical

WAYS = ("random", "k-centre", "typical")


def read(file: Path) -> tuple[torch.Tensor, np.ndarray]:
    """Unit-norm features (n, D) and labels (n,), which are the numbers of the names' folders."""
    found = np.load(file)
    features = torch.nn.functional.normalize(torch.from_numpy(found["features"]), dim=1)
    folders = [name.partition("/")[0] for name in found["names"]]
    return features, np.unique(folders, return_inverse=True)[1]


def draw_pool(labels: np.ndarray, images: int, tail: float, rng: np.random.Generator) -> np.ndarray:
    """Rows of a pool: classes in an order of the seed, the last with 1 / tail of the first's."""
    classes = rng.permutation(labels.max() + 1)
    shares = tail ** -(np.arange(len(classes)) / max(len(classes) - 1, 1))
    counts = np.maximum(np.rint(images * shares / shares.sum()), 1).astype(int)
    rows = []
    for name, count in zip(classes, counts, strict=True):
        own = np.flatnonzero(labels == name)
        if count > len(own):
            raise SystemExit(f"class {name} has {len(own)} images, the pool wants {count}")
        rows.append(rng.permutation(own)[:count])
    return rng.permutation(np.concatenate(rows))


def pick(way: str, pool: torch.Tensor, count: int, seed: int) -> list[int]:
    """Rows of a pool."""
    nothing = torch.zeros(len(pool), dtype=torch.bool)
    if way == "k-centre":
        return [found.row for found in k_centre(pool, nothing, count)]
    if way == "typical":
        return [found.row for found in typical(pool, nothing, count, seed)]
    return np.random.default_rng(seed).permutation(len(pool))[:count].tolist()


def judge(
    features: torch.Tensor, labels: np.ndarray, test: tuple[torch.Tensor, np.ndarray], cost: float
) -> dict[str, float]:
    """Percent of the test images that the labelled ones get right, and the classes they show."""
    asked, truth = test
    nearest = (asked @ features.T).argmax(dim=1).numpy()
    shown = len(np.unique(labels))
    linear = np.full(len(truth), labels[0])
    if shown > 1:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            model = LogisticRegression(C=cost, max_iter=300).fit(features.numpy(), labels)
        linear = model.predict(asked.numpy())
    return {
        "linear": 100 * float((linear == truth).mean()),
        "1-NN": 100 * float((labels[nearest] == truth).mean()),
        "classes": float(shown),
    }


def of_seed(
    seed: int, count: int, data: tuple, test: tuple, args: argparse.Namespace
) -> dict[str, dict[str, float]]:
    """What each way scores in one pool; at random the mean of several draws."""
    features, labels = data
    rows = draw_pool(labels, args.images, args.tail, np.random.default_rng(seed))
    pool, truth = features[rows], labels[rows]
    scores = {}
    for way in WAYS:
        draws = args.draws if way == "random" else 1
        took, found = 0.0, []
        for draw in range(draws):
            started = time.process_time()
            picked = pick(way, pool, count, seed * draws + draw)
            took += time.process_time() - started
            found.append(judge(pool[picked], truth[picked], test, args.cost))
        scores[way] = {key: statistics.mean(one[key] for one in found) for key in found[0]}
        scores[way]["pick s"] = took / draws
    return scores


def spread(values: list[float]) -> str:
    """Mean and, of two or more, standard deviation."""
    deviation = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{deviation}"


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser, repeats=1)
    parser.add_argument("pool", type=Path, help="FILE.npz of `xmoco embed`: to pick from")
    parser.add_argument("test", type=Path, help="FILE.npz of `xmoco embed`: to judge by")
    parser.add_argument("--images", type=int, default=2000, help="of a pool")
    parser.add_argument("--numbers", type=int, nargs="+", default=[10, 20, 50, 100, 200])
    parser.add_argument("--tail", type=float, default=1.0, help="largest class over smallest")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2, 3, 4])
    parser.add_argument("--draws", type=int, default=10, help="random choices of a pool")
    parser.add_argument("--cost", type=float, default=10.0, help="C of the linear classifier")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    data, test = read(args.pool), read(args.test)
    rows = []
    for count in args.numbers:
        seeds = [of_seed(seed, count, data, test, args) for seed in args.seeds]
        for way in WAYS:
            row: dict = {"labels": count, "picked": way}
            for metric in ("linear", "1-NN"):
                row[f"{metric} %"] = spread([seed[way][metric] for seed in seeds])
                if way != "random":
                    apart = [seed[way][metric] - seed["random"][metric] for seed in seeds]
                    row[f"{metric} minus random"] = spread(apart)
            row["classes"] = spread([seed[way]["classes"] for seed in seeds])
            row["CPU s to pick"] = statistics.mean(seed[way]["pick s"] for seed in seeds)
            rows.append(row)
            print(row, flush=True)
    names = ("images", "tail", "seeds", "draws", "cost")
    facts = measure.environment() | {name: str(getattr(args, name)) for name in names}
    measure.report("Images to label", rows, facts, args)


if __name__ == "__main__":
    main()
