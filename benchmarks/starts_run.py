# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of starts.py: one run from good weights, looked at before it and on the way."""

import dataclasses
import functools
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from mmpretrain.registry import MODELS
from study_data import read_split
from study_run import PAIRS, TEACHER
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

import xmoco_plugin
from xmoco_plugin import pretraining as own
from xmoco_plugin.algorithms.spaces import pooled
from xmoco_plugin.evaluation.diagnostics import alignment, effective_rank, hypersphere_uniformity
from xmoco_plugin.evaluation.knn import knn_topk, knn_votes
from xmoco_plugin.export import find_backbone, read_weights

assert xmoco_plugin  # registers XMoCo, its head and its views
MEAN, STD = [123.675, 116.28, 103.53], [58.395, 57.12, 57.375]
NEIGHBOURS = 20  # of kNN, as in `xmoco pretrain`
SAMPLE = 128  # images whose two views are compared, of the bank
TRAINED = ("all", "norms", "fixed")
READINGS: dict[str, dict] = {
    "moco": dict(consistency=None, uniformity=None),
    "terms": dict(),  # XMoCo's, with their defaults
    # Of the backbone's features, which good weights know; temperature its own: InfoNCE has 0.2.
    "features-kl": dict(
        consistency=dict(PAIRS, space="backbone", temperature=0.1, loss_weight=4.0)
        | dict(teacher_temperature=TEACHER * 0.1),
        uniformity=None,
    ),
}


@dataclass(frozen=True)
class Cell:
    """One combination of the factors.

    Args:
        reading: key of ``READINGS``.
        lr: AdamW's, at its highest.
        trained: 'all' of the backbone; its 'norms' alone, weights and biases of BatchNorm; or all
            with 'fixed' statistics of BatchNorm, those that the weights came with.
    """

    reading: str = "moco"
    lr: float = 3e-4
    trained: str = "all"

    @property
    def name(self) -> str:
        """Of its files and rows."""
        return f"{self.reading}_{self.lr:g}" + ("" if self.trained == "all" else f"_{self.trained}")


@dataclass(frozen=True)
class Length:
    """What all runs of a study share.

    Args:
        model: as ``xmoco pretrain --model`` takes it.
        size: side of views and of the images that are judged, px.
        shown: images in a run, whatever the set's size.
        bank: images that kNN and ridge know, of those trained on, in even steps.
        queries: test images that are asked about, in even steps.
        looks: at the weights on the way and at the end, besides that at the start.
    """

    model: str = "MobileNetV2"
    size: int = 64
    shown: int = 1536
    bank: int = 400
    queries: int = 200
    looks: int = 4


Labelled = tuple[torch.Tensor, torch.Tensor]


@functools.cache
def read_set(folder: Path) -> tuple[Labelled, Labelled]:
    """Images uint8 (N, 3, S, S) and labels that are trained on and asked about."""
    parts = [[torch.from_numpy(x) for x in read_split(folder, part)] for part in ("train", "test")]
    first, second = ((x.permute(0, 3, 1, 2).contiguous(), y) for x, y in parts)
    return first, second


def spaced(rows: Labelled, most: int) -> Labelled:
    """At most so many, in even steps: sets are in the order of their classes."""
    kept = torch.linspace(0, len(rows[1]) - 1, min(most, len(rows[1]))).round().long()
    return rows[0][kept], rows[1][kept]


def model_of(cell: Cell, length: Length, images: int) -> tuple[dict[str, Any], own.Choices]:
    """Config of the model, and the settings that `xmoco pretrain --init` chooses for the set."""
    facts = own.Facts(images, np.array([length.size]), on_gpu=False, cpus=1)
    given = dict(model=length.model, image_size=length.size, lr=cell.lr)
    chooser = own.Chooser(facts, given, pretrained=True)
    chooser.views()
    chooser.batch(fits=images, kept="")
    chooser.length()
    chooser.queue()
    backbone = own.backbone_config(length.model, length.size, chooser.choices.splits)
    outputs = own.probe(backbone, length.size)
    chooser.layout(outputs.grouped)
    model = own.model_config(chooser.choices, outputs)
    model["backbone"] = backbone | (dict(norm_eval=True) if cell.trained == "fixed" else {})
    model["head"] |= READINGS[cell.reading]
    view = dict(size=length.size, crop_scale=chooser.choices.crop_scale, blur_prob=0.0)
    views = dict(recipe="mocov2_weak_key", **view)
    maker: dict[str, Any] = dict(type="TwoViewDataPreprocessor", mean=MEAN, std=STD)
    model["data_preprocessor"] = maker | dict(views=views)
    return model, chooser.choices


def start(model: nn.Module, file: Path) -> None:
    """Lets a backbone begin with the weights of a file, in any layout that ``--init`` reads.

    Raises:
        SystemExit: They are of another backbone.
    """
    like = model.backbone.state_dict()
    state = find_backbone(read_weights(file), like=like).state
    if lacking := like.keys() - state.keys():
        raise SystemExit(f"--init {file} lacks {len(lacking)} keys, such as {min(lacking)}")
    model.backbone.load_state_dict({key: state[key] for key in like})


def build(cell: Cell, length: Length, init: Path, images: int, seed: int) -> tuple[nn.Module, Any]:
    """The model with its first weights, and the settings."""
    torch.manual_seed(seed)
    config, choices = model_of(cell, length, images)
    model = MODELS.build(config)
    start(model, init)
    if cell.trained == "norms":
        norms = [m for m in model.backbone.modules() if isinstance(m, _BatchNorm)]
        kept = {id(parameter) for norm in norms for parameter in norm.parameters()}
        for parameter in model.backbone.parameters():
            parameter.requires_grad_(id(parameter) in kept)
    return model.train(), choices  # by a call: statistics are fixed in it


def batches(images: int, batch: int, steps: int, order: torch.Generator) -> Iterator[torch.Tensor]:
    """Rows of each batch; every image once before one comes again, but for what fills no batch."""
    while True:
        for rows in torch.randperm(images, generator=order)[: images // batch * batch].split(batch):
            if steps == 0:
                return
            yield rows
            steps -= 1


def rate_of(step: int, steps: int, warmup: float) -> float:
    """Of the highest rate: a line up and a half cosine down, as `xmoco pretrain` has them."""
    risen = max(round(warmup * steps), 1)
    if step < risen:
        return 0.01 + 0.99 * step / risen
    return (1 + math.cos(math.pi * (step - risen) / (steps - risen))) / 2


@torch.no_grad()
def features(model: nn.Module, images: torch.Tensor) -> torch.Tensor:
    """(N, C) pooled features of normalized images (N, 3, H, W)."""
    return torch.cat([pooled(model.backbone(part)) for part in images.split(128)])


def clean(images: torch.Tensor, size: int) -> torch.Tensor:
    """uint8 (N, 3, S, S) -> normalized (N, 3, size, size)."""
    mean, std = (torch.tensor(x).view(3, 1, 1) for x in (MEAN, STD))
    x = F.interpolate(images.float(), (size, size), mode="bilinear", antialias=True)
    return (x - mean) / std


def ridge(known: torch.Tensor, labels: torch.Tensor, asked: torch.Tensor) -> torch.Tensor:
    """(Q, classes) scores: standardized features, one hot labels, a penalty of .1 an image."""
    classes = int(labels.max()) + 1
    center, scale = known.double().mean(0), known.double().std(0) + 1e-6
    x, y = ((f.double() - center) / scale for f in (known, asked))
    targets = F.one_hot(labels, classes).double()
    # In the dual: there are more numbers in a feature than images.
    gram = x @ x.T + 0.1 * len(x) * torch.eye(len(x), dtype=x.dtype)
    return y @ x.T @ torch.linalg.solve(gram, targets - targets.mean(0)) + targets.mean(0)


def look(
    model: nn.Module, bank: Labelled, queries: Labelled, size: int, before: torch.Tensor | None
) -> tuple[dict[str, float], torch.Tensor]:
    """What the backbone is worth, and figures of it that need no labels.

    Args:
        bank, queries: images and labels.
        before: nearest images of each of the bank at the start, (N, 5); None: this is the start.

    Returns:
        knn and ridge, percent; rank, alignment, uniformity, found, kept (docs/lab/starts.md), and
        the nearest images.
    """
    model.eval()
    known, asked = (features(model, clean(x, size)) for x, _ in (bank, queries))
    unit = F.normalize(known)
    similarity, rows = knn_topk(F.normalize(asked), unit, min(NEIGHBOURS, len(unit)))
    classes = int(bank[1].max()) + 1
    votes = knn_votes(similarity, bank[1][rows], classes, 0.07)
    right = lambda s: 100 * (s.argmax(dim=1) == queries[1]).double().mean().item()  # noqa: E731
    state = torch.get_rng_state()
    torch.manual_seed(0)  # the same views each time
    sample = spaced(bank, SAMPLE)[0]
    views = model.data_preprocessor(dict(inputs=sample), training=True)["inputs"]
    torch.set_rng_state(state)
    one, two = (F.normalize(features(model, view)) for view in views)
    near = knn_topk(unit, unit, 6)[1][:, 1:]
    before = near if before is None else before
    model.train()
    return dict(
        knn=right(votes),
        ridge=right(ridge(known, bank[1], asked)),
        rank=float(effective_rank(unit)),
        alignment=float(alignment(one, two)),
        uniformity=float(hypersphere_uniformity(unit)),
        found=float(((one @ two.T).argmax(1) == torch.arange(len(one))).double().mean()),
        kept=float((before[:, :, None] == near[:, None]).any(2).double().mean()),
    ), near


@functools.cache
def look_at_start(
    length: Length, folder: Path, init: Path
) -> tuple[dict[str, float], torch.Tensor]:
    """Of the weights that every run on a set begins with."""
    (images, labels), asked = read_set(folder)
    bank, queries = spaced((images, labels), length.bank), spaced(asked, length.queries)
    model, _ = build(Cell(), length, init, len(images), seed=0)
    return look(model, bank, queries, length.size, None)


def run(cell: Cell, length: Length, seed: int, folder: Path, init: Path) -> dict[str, Any]:
    """One run: its cell, seed, cost, and what was seen at the start and on the way."""
    (images, labels), asked = read_set(folder)
    bank, queries = spaced((images, labels), length.bank), spaced(asked, length.queries)
    figures, near = look_at_start(length, folder, init)  # first: it draws random numbers
    model, choices = build(cell, length, init, len(images), seed)
    torch.manual_seed(10_000 + seed)  # whatever was drawn for the weights: the views are paired
    order = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.AdamW(
        [p for p in model.parameters() if p.requires_grad], cell.lr, weight_decay=0.05
    )
    part = max(length.shown // choices.batch_size // length.looks, 1)
    steps = length.looks * part
    seen, cpu, losses = [figures], 0.0, []
    clock = time.process_time()
    for step, rows in enumerate(batches(len(images), choices.batch_size, steps, order)):
        for group in optimizer.param_groups:
            group["lr"] = cell.lr * rate_of(step, steps, choices.warmup)
        views = model.data_preprocessor(dict(inputs=images[rows]), training=True)["inputs"]
        terms = model(views, mode="loss")
        loss = sum(terms.values())
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{cell.name}, seed {seed}: loss {loss.item()} at step {step}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(terms["loss_nce"].item())
        if (step + 1) % part == 0:
            cpu += time.process_time() - clock
            found = look(model, bank, queries, length.size, near)[0]
            seen.append(found | dict(nce=float(np.mean(losses[-part:]))))
            clock = time.process_time()
    chosen = dict(batch=choices.batch_size, queue=choices.queue_len, steps=steps)
    rounded = [{k: round(v, 4) for k, v in figures.items()} for figures in seen]
    return dict(
        set=folder.name,
        cell=cell.name,
        factors=dataclasses.asdict(cell),
        seed=seed,
        cpu_seconds=round(cpu, 1),
        chosen=chosen,
        looks=rounded,
    )
