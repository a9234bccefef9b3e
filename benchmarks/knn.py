# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Time and extra memory of the kNN search that eval_knn.py makes once it has features.

Banks of random unit-norm features, up to what the memory holds; each size is the beginning of one
bank. Ours is `FeatureBank`, searched a loader's batch at a time, and the votes; the plain way is
one matrix product with the whole bank, topk and the votes. Both answer the same queries in the
same run. "check" is the reading of the bank for NaN, once before the search (timed in one round);
"extra MB" is the search's peak beyond bank and queries. The second table is for as many queries and
images as an evaluation on ImageNet-1K has, and says of each figure whether it was measured or
extrapolated.
"""

import argparse
import ctypes
import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path

import growth
import measure
import torch
import torch.nn.functional as F

from xmoco_plugin.evaluation.feature_bank import FeatureBank
from xmoco_plugin.evaluation.features import LabelledFeatures
from xmoco_plugin.evaluation.knn import break_vote_ties, knn_votes
from xmoco_plugin.evaluation.knn_val_loop import DTYPES

BLOCK = 16384  # rows drawn at a time, and FeatureBank's chunk
PLAIN = "plain product"
Way = Callable[[], torch.Tensor]
Key = tuple[str, int]  # name of a way, images in the bank


def draw(
    rows: int, args: argparse.Namespace, seed: int, dtype: torch.dtype, device: str
) -> LabelledFeatures:
    """Features around one centre a class; the centres are those of any seed.

    Returns:
        Features (rows, D), unit norm, labels (rows,) and places (rows,). Two features of one class
        have a cosine of --cosine on average, others of 0.
    """
    generator = torch.Generator(device).manual_seed(args.seed)
    centres = torch.randn(args.classes, args.dim, generator=generator, device=device)
    centres *= (args.cosine / (1 - args.cosine)) ** 0.5
    generator.manual_seed(seed)
    labels = torch.empty(rows, dtype=torch.int64, device=device)
    features = torch.empty(rows, args.dim, dtype=dtype, device=device)
    for start in range(0, rows, BLOCK):  # whole blocks: a longer bank begins like a shorter one
        label = torch.randint(args.classes, (BLOCK,), generator=generator, device=device)
        block = torch.randn(BLOCK, args.dim, generator=generator, device=device)
        block = F.normalize(block.add_(centres[label]), dim=1)[: rows - start]
        labels[start : start + BLOCK] = label[: rows - start]
        features[start : start + BLOCK] = block
    return LabelledFeatures(features, labels.cpu(), torch.arange(rows))


def first(bank: LabelledFeatures, rows: int) -> LabelledFeatures:
    """The beginning of a bank, without a copy."""
    return LabelledFeatures(*(part[:rows] for part in bank))


def search(bank: FeatureBank, queries: torch.Tensor, args: argparse.Namespace) -> torch.Tensor:
    """What `KNNValLoop` does with each batch of queries: each class's score, (Q, C), on the CPU."""
    scores = []
    for batch in queries.split(args.batch):
        similarity, labels = bank.search(batch, args.k)
        votes = knn_votes(similarity.cpu(), labels.cpu(), args.classes, args.temperature)
        scores.append(break_vote_ties(votes))
    return torch.cat(scores)


def plain(bank: LabelledFeatures, queries: torch.Tensor, args: argparse.Namespace) -> torch.Tensor:
    """The few lines that one would write where everything fits: (Q, C), on the CPU."""
    similarity, rows = (queries @ bank.features.T).topk(args.k, dim=1)
    labels = bank.labels.to(queries.device)[rows]
    weights = (similarity / args.temperature).softmax(dim=1)
    votes = queries.new_zeros(len(queries), args.classes)
    return votes.scatter_add_(1, labels, weights).cpu()


def free_bytes(device: str) -> int:
    """Memory that nobody uses; where the system does not say, half of what there is."""
    if device == "cuda":
        return torch.cuda.mem_get_info()[0]
    facts = Path("/proc/meminfo")
    for line in facts.read_text().splitlines() if facts.exists() else ():
        if line.startswith("MemAvailable"):
            return int(line.split()[1]) * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") // 2


def needed_bytes(rows: int, dtype: torch.dtype, one_product: bool, args: argparse.Namespace) -> int:
    """Estimate for a bank and its search: a few chunks, or the whole product and topk's copy."""
    search = 2 * args.queries * rows * 4 if one_product else 0
    return rows * args.dim * dtype.itemsize + search + 4 * BLOCK * args.dim * 4


def measure_dtype(
    dtype_name: str, answers: dict[int, torch.Tensor], args: argparse.Namespace, device: str
) -> tuple[list[dict], dict[Key, measure.Seconds], dict[Key, measure.Seconds]]:
    """One bank that is kept in one type, and all sizes of it that fit.

    Args:
        answers: by size, what the plain way found; float32 fills it in, other types read it.

    Returns:
        Rows of the table, seconds of the search and seconds of the bank's check.
    """
    dtype = DTYPES[dtype_name]
    fits = [m for m in args.bank if needed_bytes(m, dtype, False, args) <= args.memory * 1e9]
    if not fits:
        return [], {}, {}
    print(f"{dtype_name}: banks of {', '.join(f'{m:,}' for m in fits)}", flush=True)
    torch.set_num_threads(1)
    whole = draw(fits[-1], args, args.seed + 1, dtype, device)
    queries, truth, _ = draw(args.queries, args, args.seed + 2, torch.float32, device)
    few = first(whole, args.k)
    few32 = few._replace(features=few.features.float())

    def warm() -> None:
        """Loads what libraries load at first use, which is not the search's memory."""
        search(FeatureBank(few, device), queries[:2], args)
        plain(few32, queries[:2], args)

    ours = f"ours, {dtype_name}"
    banks: dict[int, FeatureBank] = {}

    def build(m: int) -> None:
        banks[m] = FeatureBank(first(whole, m), device)

    # Once: it reads the whole bank, and an evaluation does it once.
    checked = measure.alternate({(ours, m): partial(build, m) for m in fits}, 1, device)
    ways: dict[Key, Way] = {(ours, m): partial(search, banks[m], queries, args) for m in fits}
    for m in fits:
        if dtype == torch.float32 and needed_bytes(m, dtype, True, args) <= args.memory * 1e9:
            ways[PLAIN, m] = partial(plain, first(whole, m), queries, args)
    peaks = {key: peak(way, warm, device) for key, way in ways.items()}
    torch.set_num_threads(args.threads)
    found: dict[Key, torch.Tensor] = {}

    def keep(key: Key) -> None:
        found[key] = ways[key]()

    seconds = measure.alternate({key: partial(keep, key) for key in ways}, args.repeats, device)
    answers.update({m: found[name, m] for name, m in found if name == PLAIN})
    rows = []
    for m in fits:
        for name in (ours, PLAIN):
            if (name, m) not in ways:
                continue
            took, votes = seconds[name, m], found[name, m]
            row: dict = dict(bank=m, way=name)
            row["check s"] = float(checked[name, m]) if name == ours else "-"
            row |= {"search s": float(took), "its rounds": measure.spread(took.rounds)}
            row["queries/s"] = args.queries / took
            row["bank GB"] = m * args.dim * dtype.itemsize / 1e9
            row["extra MB"] = peaks[name, m] / 1e6
            row["top-1 %"] = 100 * float((votes.argmax(1) == truth).double().mean())
            if name == ours and m in answers:
                row |= compare(votes, answers[m])
            if name == ours and (PLAIN, m) in ways:
                ratio, rounds = measure.ratio(took, seconds[PLAIN, m])
                row |= {"time / plain": ratio, "ratio's rounds": rounds}
            rows.append(row)
    return rows, seconds, checked


def peak(way: Way, warm: Callable[[], None], device: str) -> int:
    """`measure.peak_memory` on one thread: a fork has none of the others that torch counts on."""

    def prepare() -> Way:
        torch.set_num_threads(1)
        warm()
        if sys.platform == "linux":  # what malloc keeps free would hide what the search takes
            getattr(ctypes.CDLL(None), "malloc_trim", int)(0)
        return way

    return measure.peak_memory(prepare, device)


def compare(votes: torch.Tensor, expected: torch.Tensor) -> dict:
    """How far two ways agree: the same class, and the shares of the votes."""
    same = (votes.argmax(1) == expected.argmax(1)).double().mean()
    apart = (votes.double() - expected.double()).abs().max()
    return {"same answers %": 100 * float(same), "votes apart": float(apart)}


def target_rows(seconds: dict, checked: dict, args: argparse.Namespace) -> list[dict]:
    """An evaluation of --target queries and images, of each way.

    Batches follow one another, so queries are in proportion. A bank that was not measured takes the
    time of the largest that was, times (target / largest) ^ exponent. "between" is the least and
    the greatest round, or the exponent's standard error.
    """
    bank, queries = args.target
    rows = []
    for name in dict.fromkeys(name for name, _ in seconds):
        sizes = [m for way, m in seconds if way == name]
        total = {}  # of each round, for all queries of the target
        for m in sizes:
            check = float(checked[name, m]) if (name, m) in checked else 0.0
            times = queries / args.queries
            total[m] = measure.Seconds([check + times * x for x in seconds[name, m].rounds])
        row: dict = {"way": name, "images": bank, "queries": queries, "largest bank": sizes[-1]}
        how = [] if queries == args.queries else ["queries"]
        exponent = error = None
        if len(sizes) > 1:
            exponent, error = growth.fit(sizes, [total[m] for m in sizes])
            row |= {"exponent": round(exponent, 2)}
            row |= {"±": round(error, 2)} if len(sizes) > 2 else {}
        if bank in total:
            ends = [float(total[bank]), min(total[bank].rounds), max(total[bank].rounds)]
        elif exponent is not None and error is not None:
            how.insert(0, "images")
            powers = (exponent, exponent - error, exponent + error)
            ends = [total[sizes[-1]] * (bank / sizes[-1]) ** power for power in powers]
        else:
            rows.append(row | {"figure": "none: one size has no exponent"})
            continue
        row["minutes"] = ends[0] / 60
        if bank in total or len(sizes) > 2:  # a line through two points has no error
            row["between"] = measure.spread([end / 60 for end in ends])
        row["figure"] = f"extrapolated: {' and '.join(how)}" if how else "measured"
        rows.append(row)
    return rows


def main() -> None:
    """Measures."""
    gpu = torch.cuda.is_available()
    device = "cuda" if gpu else "cpu"
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser, repeats=3)
    parser.add_argument(
        "--bank", type=int, nargs="+", default=[20000, 80000, 320000, 1281167], help="images"
    )
    parser.add_argument("--dim", type=int, default=2048)
    parser.add_argument(
        "--queries", type=int, default=2048 if gpu else 256, help="default: 256, with a GPU 2048"
    )
    parser.add_argument("--batch", type=int, default=256, help="queries at a time, as a loader's")
    parser.add_argument("--k", type=int, default=200)
    parser.add_argument("--temperature", type=float, default=0.07)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--cosine", type=float, default=0.02, help="mean within a class")
    parser.add_argument(
        "--dtypes", nargs="+", choices=DTYPES, default=["float32", "float16"], help="of the bank"
    )
    parser.add_argument(
        "--target", type=int, nargs=2, default=[1281167, 50000], metavar=("IMAGES", "QUERIES")
    )
    parser.add_argument(
        "--memory", type=float, help="GB that banks and search may take (default: 0.8 of the free)"
    )
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    if args.memory is None:
        args.memory = 0.8 * free_bytes(device) / 1e9
    args.bank = sorted(set(args.bank))
    if args.k > args.bank[0]:
        parser.error(f"--k {args.k} neighbours, but the smallest bank has {args.bank[0]} images")
    rows: list[dict] = []
    answers: dict[int, torch.Tensor] = {}
    last: list[dict] = []
    for dtype in sorted(args.dtypes, key=lambda name: name != "float32"):
        found, seconds, checked = measure_dtype(dtype, answers, args, device)
        rows += found
        last += target_rows(seconds, checked, args)
    torch.set_num_threads(args.threads)
    facts = measure.environment(device) | {
        name: getattr(args, name) for name in ("dim", "queries", "batch", "k", "seed")
    }
    measure.report("kNN of features", rows + last, facts, args)


if __name__ == "__main__":
    main()
