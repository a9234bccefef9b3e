# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Time and extra memory of the head, forwards and backwards: mmpretrain's MoCo head and ours.

Ours alone, with the default terms over the batch, and with both terms over the queue: a one-sided
KL and the forward uniformity, which share InfoNCE's pass, and the two that need another pass
backwards. Each row is N queries against K keys of 128 dimensions, the copy of the queue included
that both algorithms make. Memory is the peak beyond queries, keys and queue.
"""

import argparse
from collections.abc import Callable

import measure
import torch
import torch.nn.functional as F
from mmpretrain.models import ContrastiveHead

import xmoco_plugin
from xmoco_plugin.heads import XMoCoHead
from xmoco_plugin.losses.queue_softmax import CHUNK_SIZE

assert xmoco_plugin  # registers what the host's head is built from
DIM = 128
TEMPERATURE = 0.2
QUEUE = dict(pairs="queue", target="momentum")


def host_loss() -> Callable:
    """What mmpretrain's MoCo.loss does once it has q and k."""
    head = ContrastiveHead(
        loss=dict(type="mmpretrain.CrossEntropyLoss", loss_weight=1.0), temperature=TEMPERATURE
    )

    def loss(q: torch.Tensor, k: torch.Tensor, queue: torch.Tensor) -> torch.Tensor:
        positive = torch.einsum("nc,nc->n", [q, k]).unsqueeze(-1)
        negative = torch.einsum("nc,ck->nk", [q, queue.clone().detach()])
        return head.loss(positive, negative)

    return loss


def our_loss(
    chunk_size: int | None, consistency: dict | None = None, uniformity: dict | None = None
) -> Callable:
    """XMoCo's, with the copy of the queue that XMoCo.loss makes."""
    chunked = dict(chunk_size=chunk_size)
    head = XMoCoHead(
        TEMPERATURE,
        None if consistency is None else consistency | chunked,
        None if uniformity is None else uniformity | chunked,
        chunk_size,
    )
    return lambda q, k, queue: sum(head.loss(q, k, queue.detach().clone()).values())


def heads(chunk_size: int) -> dict[str, Callable]:
    """Those that are compared."""
    return {
        "mmpretrain": host_loss(),
        "plain": our_loss(None),
        "chunks": our_loss(chunk_size),
        "chunks + terms": our_loss(chunk_size, dict(), dict()),
        "queue terms": our_loss(
            chunk_size,
            consistency=dict(QUEUE, divergence="kl", teacher_temperature=TEMPERATURE / 2),
            uniformity=dict(negatives="queue"),
        ),
        "two-sided": our_loss(
            chunk_size,
            consistency=dict(QUEUE, divergence="sym_kl"),
            uniformity=dict(negatives="queue", direction="reverse"),
        ),
    }


def step(loss: Callable, n: int, length: int, device: str) -> Callable[[], None]:
    """Computes loss and gradient of inputs of one size; has run on small ones."""
    if n > 2:
        step(loss, 2, 8, device)()
    generator = torch.Generator(device).manual_seed(0)
    draw = lambda *shape: torch.randn(*shape, generator=generator, device=device)  # noqa: E731
    q, k = F.normalize(draw(n, DIM), dim=1), F.normalize(draw(n, DIM), dim=1)
    queue = draw(DIM, length)
    queue /= queue.norm(dim=0)
    q.requires_grad_()

    def run() -> None:
        q.grad = None
        loss(q, k, queue).backward()

    return run


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser)
    parser.add_argument("--batch", type=int, nargs="+", default=[64, 256, 1024, 4096])
    parser.add_argument("--queue", type=int, nargs="+", default=[4096, 65536, 1048576])
    parser.add_argument("--chunk-size", type=int, default=CHUNK_SIZE)
    parser.add_argument(
        "--max-pairs",
        type=float,
        default=2**28 if torch.cuda.is_available() else 2**26,
        help="leave out rows with more pairs, N times K (default: 2^28, without a GPU 2^26)",
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    losses = heads(args.chunk_size)
    sizes = [(n, k) for n in args.batch for k in args.queue if n * k <= args.max_pairs]
    # Memory first: processes are forked before torch has threads.
    peaks = {
        (n, k, name): measure.peak_memory(lambda: step(loss, n, k, device), device)  # noqa: B023
        for n, k in sizes
        for name, loss in losses.items()
    }
    rows = []
    for n, k in sizes:
        print(f"N = {n}, K = {k}", flush=True)
        runs = {name: step(loss, n, k, device) for name, loss in losses.items()}
        seconds = measure.alternate(runs, args.repeats, device)
        row: dict = dict(N=n, K=k)
        for name in losses:
            row[f"{name} ms"] = seconds[name] * 1e3
        for name in losses:
            row[f"{name} MB"] = peaks[n, k, name] / 1e6
        ratio, rounds = measure.ratio(seconds["chunks"], seconds["mmpretrain"])
        row |= {"time ratio": ratio, "its rounds": rounds}
        for name in ("queue terms", "two-sided"):
            ratio, rounds = measure.ratio(seconds[name], seconds["mmpretrain"])
            row |= {f"{name}, ratio": ratio, f"{name}, rounds": rounds}
        row["memory ratio"] = peaks[n, k, "chunks"] / max(peaks[n, k, "mmpretrain"], 1)
        rows.append(row)
    measure.report("The head, forwards and backwards", rows, measure.environment(device), args)


if __name__ == "__main__":
    main()
