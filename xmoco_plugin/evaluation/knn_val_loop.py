# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import time
from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import torch
from mmengine.dist import all_gather_object, all_reduce
from mmengine.runner import ValLoop
from mmpretrain.registry import LOOPS
from mmpretrain.structures import DataSample
from torch.utils.data import DataLoader

from ..log_detail import DETAIL
from ..progress import watched
from .against_start import Answers, hits_of
from .feature_bank import FeatureBank
from .features import (
    Embed,
    ModelEmbedder,
    collect_features,
    embed_nothing,
    embed_pixels,
    evaluation_mode,
    labels_of,
)
from .knn import break_vote_ties, knn_votes, largest_class_share
from .same_classes import unlike_classes

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}


@LOOPS.register_module()
class KNNValLoop(ValLoop):
    """Validation of a backbone by weighted kNN (Wu et al., arXiv 1805.01978); no training needed.

    ``val_dataloader`` holds the labelled queries, ``val_evaluator`` the host's metrics, which read
    each class's share of the votes as ``pred_score``. Both sets need one label per image and one
    plain view; they may overlap, but an image in both finds itself. Metrics have the host's
    names, so ``save_best='accuracy/top1'`` works; they belong to the first k and temperature.
    Every further setting of the product k x temperature is reported as, for example,
    ``k200_T0.1/accuracy/top1`` or ``k200_majority/accuracy/top1``.

    Equal similarities go to the image that comes first in the bank, equal votes to the lower
    class. With several processes the bank stays split between them, and the result is the same.

    Args:
        runner, dataloader, evaluator: passed by the runner.
        bank_dataloader: loader, or its config, of the labelled images to compare with; every image
            once: ``DefaultSampler``, added where the config names no sampler.
        k: neighbours, at most the bank's size; 20 (ours, for small sets; 200 in the source).
        temperature: > 0, 0.07 as in the source; ``None`` for a plain majority.
        fp16: run the model under autocast. Similarities are float32 in any case.
        bank_dtype: 'float32', 'float16' or 'bfloat16', in which the bank is kept. 1.28 million
            features of 2048 dimensions take 5.2 GB in half precision, divided by the processes.
        bank_device: where the bank is kept: ``None`` (beside the model) or e.g. 'cpu'.
        bank_chunk, query_chunk: rows compared at a time, see `knn_topk`.
        show_progress: a bar on the first process's terminal where a pass is long.

    Attributes:
        answers: which queries the latest pass answered rightly, by the first setting.
    """

    stage = "val"

    def __init__(
        self,
        runner: Any,
        dataloader: DataLoader | dict,
        evaluator: Any,
        bank_dataloader: DataLoader | dict,
        k: int | Sequence[int] = 20,
        temperature: float | Sequence[float | None] | None = 0.07,
        fp16: bool = False,
        bank_dtype: str = "float32",
        bank_device: str | None = None,
        bank_chunk: int = 16384,
        query_chunk: int = 1024,
        show_progress: bool = True,
    ) -> None:
        super().__init__(runner, dataloader, evaluator, fp16)
        self.settings = knn_settings(k, temperature)
        if bank_dtype not in DTYPES:
            raise ValueError(f"bank_dtype must be one of {sorted(DTYPES)}, not {bank_dtype!r}")
        self.bank_dtype, self.bank_device = DTYPES[bank_dtype], bank_device
        self.chunks = {"bank_chunk": bank_chunk, "query_chunk": query_chunk}
        self.show_progress = show_progress
        self._bank_loader: Any = bank_dataloader
        self._bank: FeatureBank | None = None
        self._embed: Embed = embed_pixels
        self._found: list[tuple[torch.Tensor, ...]] = []
        self._hits: list[bool] = []  # of this process's queries
        self.answers: Answers | None = None

    @property
    def bank_loader(self) -> DataLoader:
        """The bank's loader, built at the first use and kept."""
        if isinstance(self._bank_loader, dict):
            sampler = {"type": "DefaultSampler", "shuffle": False}
            self._bank_loader = self.runner.build_dataloader(
                {"sampler": sampler, **self._bank_loader},
                seed=self.runner.seed,
                diff_rank_seed=self.runner._randomness_cfg.get("diff_rank_seed", False),
            )
        return self._bank_loader

    @property
    def device(self) -> torch.device:
        """The model's."""
        return next(self.runner.model.parameters()).device

    def run(self) -> dict:
        """Fill the bank with the current weights, classify the queries; returns the metrics."""
        self._call_hook("before_{}")
        self._call_hook("before_{}_epoch")  # an EMA hook puts its weights in here
        with torch.no_grad(), evaluation_mode(self.runner.model):
            metrics = self._evaluate()
        self._call_hook("after_{}_epoch", metrics=metrics)
        self._call_hook("after_{}")
        return metrics

    def _evaluate(self) -> dict:
        start = time.perf_counter()
        self.check_classes()
        self._embed = ModelEmbedder(self.runner.model, self.fp16)
        self._bank, self._hits = self._build_bank(self._embed), []
        filled = time.perf_counter()
        for idx, data_batch in enumerate(self._query_batches()):
            self.run_iter(idx, data_batch)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        self.answers = self._answers()
        for setting in self.settings[1:]:
            metrics.update(self._further_setting(*setting))
        self.runner.logger.info(
            f"kNN: bank of {self._bank.rows} x {self._bank.dim} in {filled - start:.1f} s, "
            f"{len(self.dataloader.dataset)} queries in {time.perf_counter() - filled:.1f} s",
            extra=DETAIL,
        )
        self._bank, self._found = None, []  # the next training epoch gets the memory back
        return metrics

    def check_classes(self) -> None:
        """Makes sure that bank and queries mean the same by the number of a class.

        Raises:
            ValueError: They do not: kNN would count right answers as wrong.
        """
        if unlike := unlike_classes(self.bank_loader.dataset, self.dataloader.dataset):
            raise ValueError(
                f"bank and queries of kNN number their classes in two ways: {unlike}. Give both "
                "data sets the same classes=[...]"
            )

    def _build_bank(self, embed: Embed) -> FeatureBank:
        part = collect_features(
            self.bank_loader, embed, self.bank_dtype, self.bank_device, "bank", self.show_progress
        )
        bank = FeatureBank(part, self.device, **self.chunks)
        largest = max(k for k, _ in self.settings)
        if largest > bank.rows:
            raise ValueError(
                f"k = {largest} neighbours, but the bank has {bank.rows} images: "
                f"set val_cfg.k to at most {bank.rows}"
            )
        return bank

    def _query_batches(self) -> Iterator[dict | None]:
        """This rank's batches, then ``None`` while another rank still has some to search for."""
        batches = torch.tensor(len(self.dataloader), device=self.device)
        all_reduce(batches, "max")
        yield from watched(self.dataloader, "kNN, queries", self.show_progress)
        yield from [None] * (int(batches) - len(self.dataloader))

    @torch.no_grad()
    def run_iter(self, idx: int, data_batch: dict | None) -> None:
        """Classify one batch of queries; ``None`` only helps the other ranks to search."""
        assert self._bank is not None  # run() has built it
        largest = max(k for k, _ in self.settings)
        if data_batch is None:
            self._bank.search(torch.empty(0, self._bank.dim), largest)
            return
        self._call_hook("before_{}_iter", batch_idx=idx, data_batch=data_batch)
        features, samples = self._embed(data_batch)
        truth = labels_of(samples, "queries")
        similarity, labels = self._bank.search(features, largest)
        found = (similarity.cpu(), labels.cpu(), truth)
        scores = self._scores(*found[:2], *self.settings[0])
        for sample, score in zip(samples, scores, strict=True):
            sample.set_pred_score(score).set_pred_label(score.argmax())
        self._hits += (scores.argmax(dim=1) == truth.cpu()).tolist()
        self.evaluator.process(data_samples=samples, data_batch=data_batch)
        if len(self.settings) > 1:
            self._found.append(found)
        self._call_hook("after_{}_iter", batch_idx=idx, data_batch=data_batch, outputs=samples)

    def _answers(self) -> Answers:
        """Collective."""
        queries = len(self.dataloader.dataset)
        hits = hits_of(all_gather_object(self._hits), queries)
        return Answers(100 * float(hits.mean()), queries, hits)

    def _further_setting(self, k: int, temperature: float | None) -> dict:
        """The same neighbours judged once more; only one setting's scores exist at a time."""
        for similarity, labels, truth in self._found:
            scores = self._scores(similarity, labels, k, temperature)
            samples = [
                DataSample().set_gt_label(int(label)).set_pred_score(score)
                for label, score in zip(truth, scores, strict=True)
            ]
            self.evaluator.process(data_samples=samples, data_batch=None)
        metrics = self.evaluator.evaluate(len(self.dataloader.dataset))
        name = setting_name(k, temperature)
        return {f"{name}/{key}": value for key, value in metrics.items()}

    def _scores(
        self, similarity: torch.Tensor, labels: torch.Tensor, k: int, temperature: float | None
    ) -> torch.Tensor:
        """(B, C) float32 on the CPU; C covers the bank's labels and the query set's classes."""
        assert self._bank is not None
        named = getattr(self.dataloader.dataset, "metainfo", None) or {}
        classes = max(int(self._bank.labels.max()) + 1, len(named.get("classes") or ()))
        votes = knn_votes(similarity[:, :k].cpu(), labels[:, :k].cpu(), classes, temperature)
        return break_vote_ties(votes)

    def raw_pixel_accuracy(self) -> float:
        """Top-1 in percent of the same kNN, first setting, on raw pixels: what no network scores.

        Collective. Holds both sets' pixels at once: meant for small images and sets.
        """
        k, temperature = self.settings[0]
        self._bank = self._build_bank(embed_pixels)
        queries = collect_features(self.dataloader, embed_pixels, name="queries")
        scores = self._scores(*self._bank.search(queries.features, k), k, temperature)
        self._bank = None
        right = (scores.argmax(dim=1) == queries.labels).sum()
        counts = torch.stack([right, torch.tensor(len(scores))]).to(self.device)
        all_reduce(counts)
        return 100.0 * int(counts[0]) / int(counts[1])

    def largest_class_share(self) -> float:
        """Percent of the queries in their largest class: a constant answer's score. Collective."""
        labels = collect_features(self.dataloader, embed_nothing, name="queries").labels
        return largest_class_share(torch.cat(all_gather_object(labels)))

    def _call_hook(self, name: str, **kwargs: Any) -> None:
        self.runner.call_hook(name.format(self.stage), **kwargs)


def setting_name(k: int, temperature: float | None) -> str:
    """What stands before the metrics of a further setting: ``k200_T0.1``, ``k200_majority``."""
    return f"k{k}_majority" if temperature is None else f"k{k}_T{temperature:g}"


def knn_settings(
    k: int | Sequence[int], temperature: float | Sequence[float | None] | None
) -> list[tuple[int, float | None]]:
    """Every pair of k and temperature, in the order given.

    Raises:
        ValueError: no value, k < 1, temperature <= 0.
    """
    ks = list(k) if isinstance(k, Sequence) else [k]
    temperatures = list(temperature) if isinstance(temperature, Sequence) else [temperature]
    if not ks or not temperatures:
        raise ValueError(f"kNN needs a k and a temperature, not k={k}, temperature={temperature}")
    for value in ks:
        if value != int(value) or value < 1:
            raise ValueError(f"k must be a whole number of at least 1, not {value}")
    for number in temperatures:
        if number is not None and not number > 0:
            raise ValueError(f"temperature must be above 0, or None for majority, not {number}")
    return list(product(map(int, ks), temperatures))
