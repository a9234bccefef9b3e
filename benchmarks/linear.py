# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The fast linear probe against the full linear protocol on CIFAR-10: one backbone, same images.

The full protocol is configs/linear/linear_r18_1xb256_cifar10.py with one head for each learning
rate, all of which see the same crops and none another's gradient. The first --images training
images train, the --choose next ones choose the full protocol's rate, all test images judge.
"""

import argparse
import math
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import measure as bench
import torch
from mmengine.config import Config, ConfigDict
from mmengine.model import BaseModule
from mmengine.registry import init_default_scope
from mmengine.runner import Runner
from mmpretrain.models.heads import LinearClsHead
from mmpretrain.registry import MODELS

from xmoco_plugin import config_path
from xmoco_plugin.cli import backbones
from xmoco_plugin.downstream import prepare
from xmoco_plugin.evaluation.features import ModelEmbedder, collect_features, evaluation_mode
from xmoco_plugin.evaluation.linear_probe import linear_probe, standardizer, train_heads, with_ones


@MODELS.register_module()
class ManyHeads(BaseModule):
    """A `LinearClsHead` for each learning rate; keeps the features of the first epochs.

    Args:
        rates: of the heads; the optimizer is told by `full_config`.
        images: in an epoch.
        passes: epochs whose features are kept.
        head: of each head.
    """

    def __init__(self, rates: Sequence[float], images: int, passes: int, head: dict) -> None:
        super().__init__()
        self.heads = torch.nn.ModuleList(LinearClsHead(**head) for _ in rates)
        self.seen, self.images = 0, images
        self.kept = torch.empty(passes, images, head["in_channels"])

    def loss(self, feats: tuple, data_samples: list) -> dict[str, torch.Tensor]:
        """The loss of each head; their sum is what is trained by."""
        rows = [sample.sample_idx for sample in data_samples]
        if self.seen // self.images < len(self.kept):
            self.kept[self.seen // self.images, rows] = feats[-1].detach().cpu()
        self.seen += len(rows)
        return {f"loss_{i}": h.loss(feats, data_samples)["loss"] for i, h in enumerate(self.heads)}


def full_config(args: argparse.Namespace) -> Config:
    """The linear config on the checkpoint's backbone, with a head for each rate."""
    cfg = Config.fromfile(config_path("linear/linear_r18_1xb256_cifar10.py"))
    theirs = backbones.load_config(
        Namespace(config=None, checkpoint=args.checkpoint, cfg_options=None)
    ).model.backbone
    cfg.model.backbone.update({k: v for k, v in theirs.items() if k not in ("type", "norm_cfg")})
    width = theirs.get("base_channels", 64) * 8
    head = {**cfg.model.head, "in_channels": width}
    head.pop("type")
    cfg.model.head = dict(
        type="ManyHeads", rates=args.lr, images=args.images, passes=args.passes, head=head
    )
    keys = {f"heads.{i}.": dict(lr_mult=rate) for i, rate in enumerate(args.lr)}
    cfg.optim_wrapper.optimizer.lr = 1.0
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys=keys)
    cfg.param_scheduler.T_max = cfg.train_cfg.max_epochs = args.epochs
    loader = cfg.train_dataloader
    loader.update(num_workers=args.workers, persistent_workers=args.workers > 0)
    loader.dataset.update(data_root=args.data_root, indices=args.images)
    for part in ("dataloader", "evaluator", "cfg"):
        cfg[f"val_{part}"] = cfg[f"test_{part}"] = None
    cfg.default_hooks.checkpoint = None
    cfg.update(
        pretrained=args.checkpoint,
        randomness=dict(seed=args.seed),
        work_dir=str(args.out / "full"),
        experiment_name=f"linear_{time.monotonic_ns()}",
    )
    prepare(cfg)
    return cfg


def plain_features(runner: Runner, args: argparse.Namespace) -> dict[str, tuple]:
    """Features and labels without augmentation: of the images that train, choose and judge."""
    rows = {
        "train": range(args.images),
        "choose": range(args.images, args.images + args.choose),
        "test": None,
    }
    found = {}
    for name, indices in rows.items():
        dataset = dict(
            type="NpzImages",
            data_root=args.data_root,
            split="test" if name == "test" else "train",
            indices=indices and list(indices),
            pipeline=[dict(type="PackInputs")],
        )
        loader = Runner.build_dataloader(
            ConfigDict(
                batch_size=256,
                num_workers=0,
                sampler=dict(type="DefaultSampler", shuffle=False),
                collate_fn=dict(type="pseudo_collate"),
                dataset=dataset,
            )
        )
        with evaluation_mode(runner.model):
            found[name] = collect_features(loader, ModelEmbedder(runner.model, unit=False))[:2]
    return found


def fast(sets: dict[str, tuple], passes: torch.Tensor, seed: int) -> tuple[str, torch.Tensor]:
    """The fast probe; returns its setting and which test images it has right."""
    (_, labels), (tests, truth) = sets["train"], sets["test"]
    best = linear_probe(passes, labels, tests, truth, seed=seed).best
    passes = passes if passes.ndim == 3 else passes[None]
    mean, scale = standardizer(passes.flatten(0, 1))
    rows = with_ones((passes - mean) / scale)
    (head,) = train_heads(rows, labels, int(labels.max()) + 1, [best], seed=seed)
    right = (with_ones((tests - mean) / scale) @ head).argmax(dim=1) == truth
    return f"lr {best.lr:g}, wd {best.weight_decay:g}", right


def difference(right: torch.Tensor, reference: torch.Tensor) -> tuple[float, float]:
    """Difference in percent of two classifiers on the same images, and its standard error.

    Only images that one of them has right and the other wrong tell them apart: with b and c of n,
    the difference is (b - c) / n and its variance (b + c - (b - c)^2 / n) / n^2 (McNemar's table).
    """
    n = len(right)
    b, c = int((right & ~reference).sum()), int((~right & reference).sum())
    return 100 * (b - c) / n, 100 * math.sqrt(b + c - (b - c) ** 2 / n) / n


def main() -> None:
    """Runs both; writes OUT/linear.json and .md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("checkpoint", help="of a pretraining on CIFAR-10, with its config in it")
    parser.add_argument("--data-root", required=True, help="folder of train.npz and test.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for results")
    parser.add_argument("--images", type=int, default=10000, help="that train")
    parser.add_argument("--choose", type=int, default=5000, help="training images that choose")
    parser.add_argument("--epochs", type=int, default=50, help="of the full protocol")
    parser.add_argument("--lr", type=float, nargs="+", default=[0.03, 0.1, 0.3, 1.0, 3.0])
    parser.add_argument("--passes", type=int, default=20, help="augmented ones, for the probe")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--keep-features", action="store_true", help="write OUT/features.pth too")
    args = parser.parse_args()
    init_default_scope("mmpretrain")
    start = time.process_time()
    runner = Runner.from_cfg(full_config(args))
    runner.train()
    full_minutes = (time.process_time() - start) / 60
    sets = plain_features(runner, args)
    start = time.process_time()
    many, right = runner.model.head, {}
    rows: list[dict[str, Any]] = []
    for rate, head in zip(args.lr, many.heads, strict=True):
        with torch.no_grad():
            chosen, judged = (
                head((sets[name][0],)).argmax(dim=1) == sets[name][1] for name in ("choose", "test")
            )
        right[f"full, lr {rate:g}"] = judged
        rows.append(dict(protocol=f"full, lr {rate:g}", choose=100 * float(chosen.float().mean())))
    reference = right[max(rows, key=lambda row: row["choose"])["protocol"]]
    kinds = {"fast": sets["train"][0]}
    if args.passes:  # after the plain one, as tools/evaluate.py --augment has them
        passes = torch.cat([sets["train"][0][None], many.kept])
        kinds[f"fast, {args.passes} augmented passes"] = passes
    for name, features in kinds.items():
        setting, judged = fast(sets, features, args.seed)
        right[f"{name}, {setting}"] = judged
        rows.append(dict(protocol=f"{name}, {setting}"))
    for row, judged in zip(rows, right.values(), strict=True):
        row["top1"] = 100 * float(judged.float().mean())
        row["minus full"], row["standard error"] = difference(judged, reference)
    minutes = dict(full_cpu_minutes=full_minutes, fast=(time.process_time() - start) / 60)
    facts = {**bench.environment(), **minutes, **{k: str(v) for k, v in vars(args).items()}}
    if args.keep_features:
        torch.save(dict(sets=sets, passes=many.kept, right=right), args.out / "features.pth")
    bench.report("Linear protocols", rows, facts, Namespace(out=args.out / "linear", against=None))


if __name__ == "__main__":
    main()
