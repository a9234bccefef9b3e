# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One step of MoCo v2: mmpretrain's, lightly's modules, and ours without and with the terms.

From two views that are there already to updated weights and queue, in turns; then ours by parts.
With --images whole steps from JPEGs too: mmpretrain's data path and model beside device views and
the fast settings, with the share of the time that a step waits for its batch.
"""

import argparse
import copy
import itertools
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import measure
import mmpretrain
import torch
from measure import installed
from mmengine.config import Config, ConfigDict
from mmengine.optim import OptimWrapper, build_optim_wrapper
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS
from torch import nn
from torchvision.models import resnet

from xmoco_plugin import config_path
from xmoco_plugin._config_scope import unmark_collate

HOST = (
    Path(mmpretrain.__file__).parent
    / ".mim/configs/mocov2/mocov2_resnet50_8xb32-coslr-200e_in1k.py"
)
SGD = dict(type="SGD", lr=0.03, momentum=0.9, weight_decay=1e-4)
PLAIN = dict(type="OptimWrapper", optimizer=SGD)
AMP = {**PLAIN, "type": "AmpOptimWrapper"}
Step = Callable[[list[torch.Tensor]], None]


class LightlyMoCo(nn.Module):
    """MoCo v2 as lightly's documentation assembles it from its modules."""

    def __init__(self, depth: int, queue_len: int) -> None:
        super().__init__()
        from lightly.loss import NTXentLoss
        from lightly.models.modules import MoCoProjectionHead

        encoder = getattr(resnet, f"resnet{depth}")()
        width, encoder.fc = encoder.fc.in_features, nn.Identity()
        self.query = nn.Sequential(encoder, MoCoProjectionHead(width, width, 128))
        self.key = copy.deepcopy(self.query).requires_grad_(False)
        self.criterion = NTXentLoss(temperature=0.2, memory_bank_size=(queue_len, 128))

    def loss(self, inputs: list[torch.Tensor], data_samples: None) -> dict:
        """InfoNCE of two views; moves the key encoder."""
        from lightly.models.utils import batch_shuffle, batch_unshuffle, update_momentum

        update_momentum(self.query, self.key, m=0.999)
        with torch.no_grad():
            shuffled, order = batch_shuffle(inputs[1])
            keys = batch_unshuffle(self.key(shuffled), order)
        return dict(loss=self.criterion(self.query(inputs[0]), keys))


def model_of(cfg: Config, args: argparse.Namespace, **changes) -> ConfigDict:
    """Config of a model of the sizes that are measured."""
    model = cfg.model
    model.update(queue_len=args.queue, **changes)
    model.backbone.depth = args.depth
    if args.depth < 50:
        model.neck.update(in_channels=512, hid_channels=512)
    return model


def models(args: argparse.Namespace, cuda: bool) -> dict[str, tuple[Callable, dict]]:
    """How to build each, and its optimizer wrapper."""

    def built(file: str | Path, terms: bool = True, **changes) -> nn.Module:
        cfg = Config.fromfile(file)
        if not terms:
            cfg.model.head.update(consistency=None, uniformity=None)
        with DefaultScope.overwrite_default_scope("mmpretrain"):
            return MODELS.build(model_of(cfg, args, **changes))

    def ours(terms: bool) -> nn.Module:
        return built(config_path("xmoco_r50_8xb32.py"), terms)

    def fast(terms: bool) -> nn.Module:
        return built(config_path("xmoco_r50_8xb32_fast.py"), terms)

    fast_wrapper = Config.fromfile(config_path("xmoco_r50_8xb32_fast.py")).optim_wrapper
    choices = {"mmpretrain": (lambda: built(HOST), PLAIN)}
    if installed("lightly"):
        choices["lightly"] = (lambda: LightlyMoCo(args.depth, args.queue), PLAIN)
    choices["ours, no terms"] = (lambda: ours(False), PLAIN)
    choices["ours"] = (lambda: ours(True), PLAIN)
    if cuda:
        choices["mmpretrain AMP"] = (lambda: built(HOST), AMP)
        choices["ours, fast, no terms"] = (lambda: fast(False), fast_wrapper)
        choices["ours, fast"] = (lambda: fast(True), fast_wrapper)
    return choices


def wrapper_of(model: nn.Module, wrapper_cfg: dict) -> OptimWrapper:
    """The optimizer wrapper of a model."""
    return build_optim_wrapper(model, ConfigDict(copy.deepcopy(wrapper_cfg)))


def step_of(model: nn.Module, wrapper: OptimWrapper) -> Step:
    """From views to updated weights, as the host's ``train_step`` has it."""

    def step(views: list[torch.Tensor]) -> None:
        with wrapper.optim_context(model):
            losses = model.loss(views, None)
        wrapper.update_params(sum(value for name, value in losses.items() if "loss" in name))

    return step


def draw_views(args: argparse.Namespace, device: str) -> list[torch.Tensor]:
    """Two views that are there already."""
    return [torch.randn(args.batch, 3, args.size, args.size, device=device) for _ in range(2)]


def prepared(build: Callable, wrapper_cfg: dict, args: argparse.Namespace, device: str):
    """A step with its own two views, ready to be called."""
    torch.manual_seed(0)
    model = build().to(device).train()
    views, step = draw_views(args, device), step_of(model, wrapper_of(model, wrapper_cfg))
    return lambda: step(views)


def breakdown(args: argparse.Namespace, device: str) -> list[dict]:
    """Seconds of each part of ours with the terms, each waited for (on a GPU the sum is longer)."""
    build, wrapper_cfg = models(args, device == "cuda")["ours"]
    model = build().to(device).train()
    wrapper = wrapper_of(model, wrapper_cfg)
    step, views = step_of(model, wrapper), draw_views(args, device)
    parts = {
        "query forward": (model, "encode_query"),
        "key forward and shuffle": (model, "encode_key"),
        "loss": (model.head, "loss"),
        "momentum update": (model.encoder_k, "update_parameters"),
        "queue": (model, "_dequeue_and_enqueue"),
        "backward": (wrapper, "backward"),
        "optimizer": (wrapper, "step"),
    }
    spent = dict.fromkeys(parts, 0.0)
    now = _clock(device)
    for name, (owner, attribute) in parts.items():
        function = getattr(owner, attribute)

        def timed(*a, name=name, function=function, **k):
            start = now()
            result = function(*a, **k)
            spent[name] += now() - start
            return result

        object.__setattr__(owner, attribute, timed)
    step(views)  # warms up
    spent.update(dict.fromkeys(parts, 0.0))
    start = now()
    for _ in range(args.repeats):
        step(views)
    whole = now() - start
    spent["rest"] = whole - sum(spent.values())
    return [
        {"part of ours": name, "ms": 1e3 * s / args.repeats, "share %": 100 * s / whole}
        for name, s in spent.items()
    ]


def _clock(device: str) -> Callable[[], float]:
    if device == "cpu":
        return time.process_time

    def clock() -> float:
        torch.cuda.synchronize()
        return time.perf_counter()

    return clock


def batches(loader: ConfigDict, args: argparse.Namespace) -> Iterator[dict]:
    """The batches of a training loader, from the JPEGs of --images, without end."""
    unmark_collate(loader)
    loader.dataset = dict(
        type="UnlabeledFolder", data_root=str(args.images), pipeline=loader.dataset.pipeline
    )
    loader.update(
        batch_size=args.batch,
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
        pin_memory=torch.cuda.is_available(),
        drop_last=True,
    )
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        built = Runner.build_dataloader(loader)
    return itertools.chain.from_iterable(itertools.repeat(built))


def end_to_end(args: argparse.Namespace, device: str) -> list[dict]:
    """Images a second from JPEGs to updated weights, of the clock, and the wait for data."""
    known = models(args, device == "cuda")
    ways = {
        "mmpretrain": ("mmpretrain", "xmoco_r50_8xb32.py"),
        "mmpretrain AMP": ("mmpretrain AMP", "xmoco_r50_8xb32.py"),
        "ours, CPU views": ("ours", "xmoco_r50_8xb32.py"),
        "ours, fast, device views": ("ours, fast", "xmoco_r50_8xb32_fast.py"),
        "ours, device views": ("ours", "xmoco_r50_8xb32_deviceviews.py"),
    }
    rows = []
    for way, (name, config) in ways.items():
        if name not in known:
            continue
        build, wrapper_cfg = known[name]
        model = build().to(device).train()
        cfg = Config.fromfile(config_path(config))
        step = step_of(model, wrapper_of(model, wrapper_cfg))
        loader = batches(cfg.train_dataloader, args)
        preprocessor = MODELS.build(
            cfg.model.get("data_preprocessor", cfg.get("data_preprocessor"))
        )
        preprocessor.to(device)
        waited = 0.0
        for i in range(args.warm_up + args.steps):
            if i == args.warm_up:
                _finish(device)
                start, waited = time.perf_counter(), 0.0
            asked = time.perf_counter()
            batch = next(loader)
            waited += time.perf_counter() - asked
            step(preprocessor(batch, training=True)["inputs"])
        _finish(device)
        taken = time.perf_counter() - start
        rows.append(
            {
                "way": way,
                "images/s": args.steps * args.batch / taken,
                "waits for data %": 100 * waited / taken,
            }
        )
    return rows


def _finish(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def main() -> None:
    """Measures."""
    parser = argparse.ArgumentParser(description=__doc__)
    measure.add_arguments(parser)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--size", type=int, default=224, help="pixels of a view's side")
    parser.add_argument("--depth", type=int, default=50, choices=(18, 50), help="of the ResNet")
    parser.add_argument("--queue", type=int, default=65536)
    parser.add_argument("--images", type=Path, help="folder of JPEGs for the second table")
    parser.add_argument("--workers", type=int, default=0, help="processes that read --images")
    parser.add_argument("--warm-up", type=int, default=2, help="steps from JPEGs, not timed")
    parser.add_argument("--steps", type=int, default=10, help="steps from JPEGs")
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    warnings.filterwarnings("ignore", category=UserWarning)  # the hosts' own
    sizes = dict(N=args.batch, size=args.size, depth=args.depth, K=args.queue)
    choices = models(args, device == "cuda")
    # Memory first: processes are forked before torch has threads.
    peaks = {
        name: measure.peak_memory(lambda: prepared(*choice, args, device), device)  # noqa: B023
        for name, choice in choices.items()
    }
    steps = {name: prepared(*choice, args, device) for name, choice in choices.items()}
    seconds = measure.alternate(steps, args.repeats, device)
    rows: list[dict] = [
        {
            "model": name,
            **sizes,
            "ms": 1e3 * taken,
            "images/s": args.batch / taken,
            "MB": peaks[name] / 1e6,
            "time / mmpretrain": taken / seconds["mmpretrain"],
            "time / ours, no terms": taken / seconds["ours, no terms"],
        }
        for name, taken in seconds.items()
    ]
    del steps
    rows += breakdown(args, device)
    if args.images is not None:
        rows += end_to_end(args, device)
    measure.report("One training step", rows, measure.environment(device), args)


if __name__ == "__main__":
    main()
