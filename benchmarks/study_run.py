# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of study.py: one run. Network, training and what its features are worth."""

import dataclasses
import math
import time
from collections.abc import Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import study_teacher
import torch
import torch.nn.functional as F
from mmpretrain.models import BaseSelfSupervisor
from mmpretrain.registry import MODELS
from study_data import Sets
from study_nets import net_of
from torch import nn

import xmoco_plugin
from xmoco_plugin.evaluation.knn import knn_topk, knn_votes

assert xmoco_plugin  # registers XMoCo, its head and its views
MEAN, STD = [129.3, 124.1, 112.4], [68.2, 65.4, 70.4]
PAIRS = dict(pairs="queue", target="momentum", divergence="kl")
# Reading: options of the head, whose weights --weight multiplies. The readings' temperatures are
# in units of InfoNCE's: SCE and ReSSL teach at half and at 0.4 of it (docs/method.md).
READINGS: dict[str, dict] = {
    "untrained": dict(),
    "moco": dict(),
    "terms": dict(consistency=dict(loss_weight=1.0), uniformity=dict(loss_weight=0.1)),
    "consistency": dict(consistency=dict(loss_weight=1.0)),
    "uniformity": dict(uniformity=dict(loss_weight=0.1)),
    "simplex": dict(uniformity=dict(target="simplex", loss_weight=30.0)),
    "queue-kl": dict(consistency=dict(PAIRS, loss_weight=0.5)),
    "confidence": dict(consistency=dict(PAIRS, confidence=True, loss_weight=0.5)),
    "batch-kl": dict(consistency=dict(PAIRS, pairs="batch", loss_weight=0.5)),
    "sce": dict(consistency=dict(PAIRS, positive=True, loss_weight=1.0), nce_weight=0.0),
    "sce-simplex": dict(
        consistency=dict(PAIRS, positive=True, loss_weight=1.0),
        uniformity=dict(target="simplex", loss_weight=30.0),
        nce_weight=0.0,
    ),
}
TEACHER = 0.5
ALONE = ("moco", "untrained")  # have no terms to weigh or to let grow


@dataclass(frozen=True)
class Cell:
    """One combination of the factors.

    Args:
        reading: key of ``READINGS``, or of ``study_teacher.READINGS``.
        temperature: of InfoNCE and of the terms; a KL's teacher has half of it.
        key: 'strong' or 'weak' view of the momentum encoder; 'none' where there is no such encoder.
        symmetric: both views are queries, for half the epochs: the same number of encoded images.
        weight: multiplies the weights of the terms.
        ramp: share of the steps over which the terms' weights grow from 0.
        share: of the epochs, that a student of a frozen teacher trains for.
        keys: of the teacher that a step compares with; 0: as many as MoCo's queue holds.
    """

    reading: str = "moco"
    temperature: float = 0.1
    key: str = "weak"
    symmetric: bool = False
    weight: float = 1.0
    ramp: float = 0.0
    share: float = 1.0
    keys: int = 0

    @property
    def name(self) -> str:
        """Of its files and rows."""
        terms = "" if self.reading in ALONE else f"_x{self.weight:g}_ramp{self.ramp:g}"
        key = "" if self.key == "none" else f"_{self.key}"
        both = "_symmetric" if self.symmetric else ""
        share = "" if self.share == 1 else f"_share{self.share:g}"
        keys = "" if not self.keys else f"_keys{self.keys}"
        return f"{self.reading}{terms}_tau{self.temperature:g}{key}{both}{share}{keys}"

    @property
    def taught(self) -> bool:
        """Whether a frozen teacher is needed."""
        return self.reading in study_teacher.READINGS


@dataclass(frozen=True)
class Length:
    """Sizes and rates that all runs of a study share."""

    images: int = 45000
    epochs: int = 20
    batch: int = 256
    size: int = 16
    queue: int = 4096
    lr: float = 0.06
    net: str = "small"


def head_of(cell: Cell) -> dict:
    """Config of the head."""
    head: dict = dict(type="XMoCoHead", temperature=cell.temperature)
    for name, value in READINGS[cell.reading].items():
        if isinstance(value, dict):
            scaled = dict(value, temperature=cell.temperature)
            scaled["loss_weight"] *= cell.weight
            if value.get("divergence") == "kl":
                scaled["teacher_temperature"] = TEACHER * cell.temperature
            value = scaled
        head[name] = value
    return head


def model_of(cell: Cell, length: Length) -> dict:
    """Config of the model."""
    backbone, width = net_of(length.net)
    weak = "mocov2_weak_key" if cell.key == "weak" else "mocov2"
    return dict(
        type="XMoCo",
        queue_len=length.queue,
        feat_dim=128,
        momentum=0.01,  # m = 0.99
        symmetric=cell.symmetric,
        backbone=backbone,
        neck=dict(
            type="MoCoV2Neck",
            in_channels=width,
            hid_channels=256,
            out_channels=128,
            with_avg_pool=True,
        ),
        head=head_of(cell),
        data_preprocessor=dict(
            type="TwoViewDataPreprocessor",
            mean=MEAN,
            std=STD,
            views=dict(recipe=weak, size=length.size, crop_scale=(0.2, 1.0), blur_prob=0.0),
        ),
        _scope_="mmpretrain",
    )


def student_of(
    cell: Cell, length: Length, teaching: study_teacher.Teaching | None
) -> BaseSelfSupervisor:
    """The model, not trained yet."""
    if not cell.taught:
        return MODELS.build(model_of(cell, length))
    if teaching is None:
        raise ValueError(f"{cell.name} needs a teacher")
    moco = model_of(dataclasses.replace(cell, reading="moco"), length)
    whole = net_of(length.net, in_parts=False)[0]
    config = study_teacher.model_of(moco, cell.reading, cell.weight, teaching.dims, whole)
    config["num_keys"] = cell.keys or length.queue
    head = config.get("teacher_head", config["head"])
    for term in ("relation", "consistency"):
        if head.get(term) is not None:
            head[term] |= dict(
                temperature=cell.temperature, teacher_temperature=TEACHER * cell.temperature
            )
    return study_teacher.build(config, teaching)


def train(
    cell: Cell,
    length: Length,
    seed: int,
    images: torch.Tensor,
    device: str,
    teaching: study_teacher.Teaching | None = None,
) -> nn.Module:
    """A trained model. Runs of one seed begin with the same weights and see the same images."""
    torch.manual_seed(seed)
    model = student_of(cell, length, teaching).to(device).train()
    torch.manual_seed(10_000 + seed)  # whatever was drawn for the weights: the views are paired
    order = torch.Generator().manual_seed(seed)
    epochs = round(length.epochs * cell.share) // (2 if cell.symmetric else 1)
    epochs = 0 if cell.reading == "untrained" else epochs
    steps = epochs * (len(images) // length.batch)
    optimizer = torch.optim.SGD(
        [p for p in model.parameters() if p.requires_grad], length.lr, 0.9, weight_decay=5e-4
    )
    terms = [part for part in model.modules() if hasattr(part, "weight_factor")]
    for step, rows in enumerate(_batches(len(images), length.batch, epochs, order)):
        for group in optimizer.param_groups:
            group["lr"] = length.lr * (1 + math.cos(math.pi * step / steps)) / 2
        for term in terms:
            term.weight_factor = min(1.0, (step + 1) / max(1.0, cell.ramp * steps))
        data = dict(inputs=images[rows].to(device))
        views = model.data_preprocessor(data, training=True)["inputs"]
        places = [SimpleNamespace(sample_idx=row) for row in rows.tolist()]
        loss = sum(model(views, data_samples=places, mode="loss").values())
        if cell.key == "none":
            torch.randperm(length.batch)  # as MoCo shuffles its keys: the next views are paired
        if not torch.isfinite(loss):
            raise FloatingPointError(f"{cell.name}, seed {seed}: loss {loss.item()} at step {step}")
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return model


def _batches(images: int, batch: int, epochs: int, order: torch.Generator) -> Iterator:
    for _ in range(epochs):
        yield from torch.randperm(images, generator=order)[: images // batch * batch].split(batch)


@torch.no_grad()
def features(model: nn.Module, images: torch.Tensor, size: int, device: str) -> torch.Tensor:
    """(N, C) means over the places of the backbone's last map."""
    mean, std = (torch.tensor(x, device=device).view(3, 1, 1) for x in (MEAN, STD))
    found = []
    for part in images.split(1000):
        x = F.interpolate(part.to(device).float(), (size, size), mode="bilinear", antialias=True)
        found.append(model.backbone((x - mean) / std)[-1].mean(dim=(2, 3)).cpu())
    return torch.cat(found)


def judge(model: nn.Module, bank: tuple, queries: tuple, size: int, device: str) -> dict:
    """Percent of the queries that neighbours and a ridge regression on the bank name rightly.

    Args:
        bank, queries: images and labels.
    """
    model.eval()
    known, asked = (features(model, images, size, device) for images, _ in (bank, queries))
    return scores(known, bank[1], asked, queries[1])


def neighbours_of(images: int) -> int:
    """That vote: a hundredth of the bank, 20 to 200; of 20,000 images the usual 200."""
    return min(max(images // 100, 20), 200, images)


def scores(
    known: torch.Tensor, labels: torch.Tensor, asked: torch.Tensor, truth: torch.Tensor
) -> dict:
    """Of features (N, C) and (Q, C), with their classes; see :func:`judge`."""
    classes = int(labels.max()) + 1
    similarity, rows = knn_topk(F.normalize(asked), F.normalize(known), neighbours_of(len(labels)))
    votes = knn_votes(similarity, labels[rows], classes, 0.1)
    # Ridge: standardized features, one hot labels, a penalty of a thousandth of an image each.
    center, scale = known.double().mean(0), known.double().std(0) + 1e-6
    x, y = ((f.double() - center) / scale for f in (known, asked))
    targets = F.one_hot(labels, classes).double() - 1 / classes
    gram = x.T @ x + 1e-3 * len(x) * torch.eye(x.shape[1], dtype=x.dtype)
    found = y @ torch.linalg.solve(gram, x.T @ targets)
    right = lambda s: 100 * (s.argmax(dim=1) == truth).double().mean().item()  # noqa: E731
    return dict(knn=round(right(votes), 3), ridge=round(right(found), 3))


def run(
    cell: Cell,
    length: Length,
    seed: int,
    sets: Sets,
    on_test: bool,
    device: str,
    teaching: study_teacher.Teaching | None = None,
) -> dict:
    """One run: its cell, seed, scores and cost. The test images are looked at if `on_test`."""
    clock, cpu = time.perf_counter(), time.process_time()
    model = train(cell, length, seed, sets.train[0], device, teaching)
    cost = dict(
        cpu_seconds=round(time.process_time() - cpu, 1),
        seconds=round(time.perf_counter() - clock, 1),
    )
    found = dict(cell=cell.name, factors=dataclasses.asdict(cell), seed=seed, **cost)
    if cell.taught and teaching is not None:
        found["teacher"] = teaching.cost_of(cell.reading)
    found["chosen_by"] = judge(model, sets.train, sets.chosen_by, length.size, device)
    if on_test:
        found["test"] = judge(model, sets.train, sets.test, length.size, device)
    return found
