# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Cost of HealthHook: seconds of one look and its reading beside those of a training step.

Steps with a look and without alternate in one process, so that both meet the same machine; a look
comes every ``--interval`` iterations in training, so the share is its extra time over that many
steps. Reading is what the host's log causes, every ``--log-interval`` iterations. On a CPU the time
is that of the processor, which other processes disturb little.
"""

import argparse
import json
import statistics
import time

import measure
import torch
from mmpretrain.registry import MODELS
from torch.optim import SGD

import xmoco_plugin  # noqa: F401
from xmoco_plugin.evaluation import measure_step
from xmoco_plugin.evaluation.diagnostics import relative_distance
from xmoco_plugin.hooks.embedding_capture import EmbeddingCapture, temperature_of
from xmoco_plugin.hooks.health_window import HealthWindow


def build(args: argparse.Namespace) -> torch.nn.Module:
    """XMoCo with a ResNet-18."""
    model = dict(
        type="XMoCo",
        backbone=dict(type="ResNet", depth=18),
        neck=dict(type="MoCoV2Neck", in_channels=512, hid_channels=512, out_channels=args.dim),
        head=dict(type="XMoCoHead", consistency=dict(), uniformity=dict()),
        queue_len=args.queue,
        feat_dim=args.dim,
    )
    return MODELS.build(model).to(args.device).train()


def main() -> None:
    """Prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--image-size", type=int, default=32)
    parser.add_argument("--queue", type=int, default=65536)
    parser.add_argument("--dim", type=int, default=128)
    parser.add_argument("--interval", type=int, default=50, help="iterations between two looks")
    parser.add_argument("--log-interval", type=int, default=100)
    parser.add_argument("--repeats", type=int, default=15)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    args = parser.parse_args()

    model = build(args)
    optimizer = SGD(model.parameters(), lr=0.03, momentum=0.9)
    capture, temperature = EmbeddingCapture(model), temperature_of(model.head)
    size = (args.batch, 3, args.image_size, args.image_size)
    views = [torch.randn(size, device=args.device) for _ in range(2)]
    encoders = model.encoder_k.module, torch.nn.Sequential(model.backbone, model.neck)
    times: dict[str, list[float]] = {"step": [], "watched": [], "reading": []}

    def clock() -> float:
        if args.device == "cpu":
            return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()

    for repeat in range(2 * args.repeats + 2):
        watched = repeat % 2 == 1
        start = clock()
        capture.listening = watched
        sum(model.loss(views).values()).backward()
        if watched:
            torch.nn.utils.get_total_norm(
                [p.grad for p in model.parameters() if p.grad is not None]
            )
        optimizer.step()
        optimizer.zero_grad()
        window, seen = HealthWindow(), capture.take() if watched else None
        if seen is not None:
            window.add(measure_step(seen, temperature))
        stepped = clock()
        if repeat < 2:
            continue  # warms up
        times["watched" if watched else "step"].append(stepped - start)
        if watched:
            window.read()
            with torch.no_grad():
                float(relative_distance(*(e.parameters() for e in encoders)))
            times["reading"].append(clock() - stepped)

    ms = {name: 1e3 * statistics.median(values) for name, values in times.items()}
    rounds = zip(*times.values(), strict=True)
    shares = sorted(
        100 * ((watched - step) / args.interval + reading / args.log_interval) / step
        for step, watched, reading in rounds
    )
    row = {"batch": args.batch, "image_size": args.image_size, "queue": args.queue, "dim": args.dim}
    row |= {f"{name}_ms": round(value, 2) for name, value in ms.items()}
    # Of each pair of neighbouring steps: the median of all, least and greatest.
    row |= {"share_of_step_percent": round(statistics.median(shares), 3)}
    row |= {"share_least": round(shares[0], 3), "share_greatest": round(shares[-1], 3)}
    row |= measure.environment(args.device)
    print(json.dumps(row))


if __name__ == "__main__":
    main()
