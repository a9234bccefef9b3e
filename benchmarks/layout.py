# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A training step of `xmoco pretrain` by backbone, channels last and in bfloat16 against plain.

The ways take turns on views that are there already; the losses of the first step, before anything
was updated, are compared too. `NAME@2` gives a ResNet the SplitBN of two parts that it is trained
with. `--compiled` adds the encoders compiled. The first step's seconds are those of the processor,
the compiler's among them.
"""

import argparse
import itertools
import os
from collections.abc import Callable

import measure
import torch
from mmengine.registry import init_default_scope
from mmpretrain.registry import MODELS

import xmoco_plugin
from xmoco_plugin import pretraining as own

assert xmoco_plugin  # registers XMoCo
WAYS = {
    f"{'channels last' if last else 'plain'}{', bf16' if half else ''}": (last, half)
    for half, last in itertools.product((False, True), (False, True))
}


def step_of(
    name: str,
    size: int,
    batch: int,
    last: bool,
    half: bool,
    compiled: bool = False,
    taught: bool = False,
) -> Callable[[], float]:
    """A step of the model that is trained on a CPU, or of a student; it returns its loss."""
    name, _, parts = name.partition("@")
    backbone = own.backbone_config(name, size, int(parts or 1))
    outputs = own.probe(backbone, size)
    torch.manual_seed(0)
    model = dict(
        type="XMoCo",
        backbone=backbone,
        neck=dict(type="MoCoV2Neck", in_channels=outputs.channels)
        | dict(hid_channels=512, out_channels=128, with_avg_pool=outputs.is_map),
        head=dict(type="XMoCoHead", consistency=dict(), uniformity=dict(loss_weight=0.1)),
        queue_len=64,
        feat_dim=128,
        momentum=0.01,
        channels_last=last,
        compile_encoders=compiled,
    )
    if taught:
        kept = {k: model[k] for k in ("backbone", "neck", "channels_last")}
        head = dict(type="TeacherHead")
        model = kept | dict(type="TeacherContrast", head=head, feat_dim=128, stand_in=True)
    torch.manual_seed(1)  # whatever was drawn to look at the backbone
    built = MODELS.build(model).train()
    optimizer = torch.optim.AdamW(built.parameters(), lr=3e-4)
    views = [torch.randn(batch, 3, size, size) for _ in range(2)]

    def step() -> float:
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=half):
            loss = sum(built.loss(views).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        return loss.item()

    return step


def spent() -> float:
    """CPU seconds of this process and of the compilers that it has waited for."""
    now = os.times()
    return now.user + now.system + now.children_user + now.children_system


def rows_of(name: str, args: argparse.Namespace) -> list[dict]:
    """A row for each way."""
    compiled = {"channels last, compiled": (True, False, True)} if args.compiled else {}
    ways = WAYS | compiled
    steps = {
        way: step_of(name, args.size, args.batch, last, half, bool(more), args.taught)
        for way, (last, half, *more) in ways.items()
    }
    first, began = {}, {}
    for way, step in steps.items():
        clock = spent()
        torch.manual_seed(2)  # of a student's noise
        first[way] = step()
        began[way] = spent() - clock
    seconds = measure.alternate(steps, args.repeats)
    rows = []
    for way in ways:
        times, spread = measure.ratio(seconds["plain"], seconds[way])
        rows.append(
            {
                "backbone": name,
                "way": way,
                "ms an image": 1000 * seconds[way] / args.batch,
                "times as fast": f"{times:.2f} ({spread})",
                "first loss differs by": f"{abs(first[way] - first['plain']):.0e}",
                "first step s": began[way],
            }
        )
    return rows


def main() -> None:
    """Measures and reports."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser)
    parser.add_argument("--size", type=int, default=96, help="side of the views, px")
    parser.add_argument("--compiled", action="store_true", help="compile the encoders too")
    parser.add_argument("--taught", action="store_true", help="a student of stored features")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument(
        "--models", nargs="+", default=["resnet18@2", "MobileNetV2", "EfficientNet:b0"]
    )
    args = parser.parse_args()
    if args.taught and args.compiled:
        parser.error("--taught: a student's encoder is not compiled")
    torch.set_num_threads(args.threads)
    init_default_scope("mmpretrain")
    rows = [row for name in args.models for row in rows_of(name, args)]
    measure.report("The step by layout and precision", rows, measure.environment(), args)


if __name__ == "__main__":
    main()
