# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import io
import time
from pathlib import Path

import numpy as np
import torch
from mmengine.dist import broadcast_object_list, is_main_process
from mmengine.hooks import Hook
from mmengine.runner import EpochBasedTrainLoop, Runner
from mmpretrain.registry import HOOKS
from rich.console import Console
from rich.panel import Panel
from rich.table import Table

from ..checkpoint import write_atomic
from ..distributed import unwrapped
from ..untrusted import FileRefusedError
from ..visualization import (
    RunCurves,
    choose_images,
    describe_similarity,
    fixed_randomness,
    fixed_views,
    read_maps,
    save_run_figure,
    two_view_similarity,
)
from .best_export_hook import FIGURES, HANDED_OVER
from .health_hook import VERDICT
from .run_record import RunRecord
from .spared import Spared

MAX_PIXEL_BYTES = 2e9


@HOOKS.register_module()
class RunSummaryHook(Hook):
    """Shows, at the end of a run, what it has learnt: in a few lines, in numbers, in one picture.

    Validates before the first iteration, so that the accuracy after training has something to be
    compared with: the untrained network, the same kNN on raw pixels, the largest class. Shares have
    their number of queries and standard error; the last verdict of :class:`HealthHook`, where it
    runs, stands below. Writes to the work dir ``summary.json``, ``summary.png`` (loss terms and
    accuracy beside the cross-similarity of a fixed batch, before and after) and
    ``summary_maps.npz`` (those maps). All of it survives a resume, and the random state is left as
    it was found.

    Args:
        picture: whether to keep the maps and draw. Default True.
        num_images: of the fixed batch, sorted by class. Default 64 (ours).
        points_per_epoch: of the loss curve, each the mean over its part of an epoch. Default 4.
        iters_per_point: the same where training is counted in iterations. Default 50.
        raw_pixels: whether to run kNN on raw pixels, where the images take less than 2 GB. Default
            True.
        metric: which accuracy to follow. Default: the first of the validation.
        seed: of the fixed batch.
    """

    # Last: the final checkpoint is then written, and a validation finds every other hook ready.
    priority = "LOWEST"

    def __init__(
        self,
        picture: bool = True,
        num_images: int = 64,
        points_per_epoch: int = 4,
        iters_per_point: int = 50,
        raw_pixels: bool = True,
        metric: str | None = None,
        seed: int = 0,
    ) -> None:
        if num_images < 2:
            raise ValueError(f"num_images must be at least 2 to have pairs, got {num_images}")
        self.picture, self.num_images = picture, num_images
        self.points_per_epoch, self.iters_per_point = points_per_epoch, iters_per_point
        self.raw_pixels, self.metric, self.seed = raw_pixels, metric, seed
        self.record = RunRecord()
        self._maps: dict[str, np.ndarray] = {}
        self._spared = Spared()
        self._labels: list[int] = []
        self._terms: list[str] = []
        self._sum: torch.Tensor | None = None  # (number of terms,) over the current point
        self._count = 0

    def before_train(self, runner: Runner) -> None:
        self._since = time.monotonic()
        self._by_epoch = isinstance(runner.train_loop, EpochBasedTrainLoop)
        per_epoch = len(runner.train_dataloader) if self._by_epoch else 1
        self._iters_per_unit = max(per_epoch, 1)
        self._iters_per_point = (
            max(per_epoch // self.points_per_epoch, 1) if self._by_epoch else self.iters_per_point
        )
        self._folder = Path(runner.work_dir)
        if runner.iter > 0:
            self._take_up(runner)
            return
        self.record = RunRecord(unit="epoch" if self._by_epoch else "iteration")
        if runner.val_loop is not None:
            self._measure_start(runner)
        self._keep_map(runner, "before")
        self._store(runner)

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        losses = {name: value for name, value in (outputs or {}).items() if "loss" in name}
        # The total stands for itself only where it has no parts.
        terms = sorted(losses.keys() - {"loss"} or losses)
        if not terms:
            return
        values = torch.stack([losses[t].detach().float().sum() for t in terms])
        if self._sum is None or terms != self._terms:
            self._terms, self._sum, self._count = terms, torch.zeros_like(values), 0
        self._sum, self._count = self._sum + values, self._count + 1
        if (runner.iter + 1) % self._iters_per_point == 0:
            self._add_point(runner.iter + 1)

    def after_train_epoch(self, runner: Runner) -> None:
        self._store(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        numbers = {
            k: v for k, v in (metrics or {}).items() if isinstance(v, int | float | np.number)
        }
        name = self.metric or self.record.metric or next(iter(numbers), None)
        if name not in numbers:
            return
        self.record.metric = name
        self.record.queries = len(runner.val_loop.dataloader.dataset)
        self.record.accuracy.append([self._x(runner.iter), float(numbers[name])])

    def after_train(self, runner: Runner) -> None:
        record = self.record
        self._add_point(runner.iter)
        if runner.val_loop is not None and self._accuracy_at() != self._x(runner.iter):
            with fixed_randomness(self.seed):
                runner.val_loop.run()
        record.knn_after = self._last_accuracy()
        self._keep_map(runner, "after")
        info = runner.message_hub.runtime_info
        verdict, saved = info.get(VERDICT), info.get("last_ckpt")
        if verdict:
            record.verdict = f"{verdict['verdict']}: {verdict['reason']}"
        record.handed_over, record.figures = info.get(HANDED_OVER), info.get(FIGURES)
        record.files = {"log": str(Path(runner.log_dir) / f"{runner.timestamp}.log")}
        if saved:
            record.files["checkpoint"] = str(saved)
        if is_main_process() and self.picture:
            record.files["picture"] = str(self._folder / "summary.png")
            with self._spared(runner, "summary.png"):
                self._draw(type(unwrapped(runner.model)).__name__)
        self._store(runner)
        if is_main_process():
            runner.logger.info("\n" + self.framed())

    def framed(self) -> str:
        """The summary as framed text, at most 100 columns wide unless a path is longer."""
        record = self.record
        table = Table.grid(padding=(0, 2))
        for name, value in (
            ("kNN before training", record.knn_before),
            ("kNN after training", record.knn_after),
            ("kNN on raw pixels", record.raw_pixels),
        ):
            table.add_row(name, record.percent(value))
        largest = record.largest_class  # counted, so without an error
        table.add_row("largest class", "not measured" if largest is None else f"{largest:.1f} %")
        for name, said in (
            ("backbone", record.figures),
            ("verdict", record.verdict),
            ("handed over", record.handed_over),
        ):
            if said:
                table.add_row(name, said)
        for name, path in sorted(record.files.items()):
            table.add_row(name, path)
        table.add_row("seconds", f"{record.seconds:,.0f}")
        width = max([100, *(len(path) + 30 for path in record.files.values())])
        text = io.StringIO()
        console = Console(file=text, width=width, color_system=None, markup=False)
        console.print(Panel(table, title="what this run has learnt", expand=False))
        return text.getvalue().rstrip()

    def _take_up(self, runner: Runner) -> None:
        """Go on from what the earlier part of this run stored."""
        # Rank 0's for all: whether to validate at the end is decided by it, on every rank alike.
        shared = [RunRecord.read(self._folder / "summary.json")]
        broadcast_object_list(shared)
        stored = shared[0]
        if stored is None:
            runner.logger.warning(
                f"no whole summary.json of the earlier part of this run in {self._folder}: "
                "the summary cannot say how it began"
            )
            stored = RunRecord(unit="epoch" if self._by_epoch else "iteration")
        self.record = stored
        self.record.forget_after(self._x(runner.iter))
        maps = self._folder / "summary_maps.npz"
        if maps.exists():
            try:
                arrays = read_maps(maps)
            except FileRefusedError as error:
                runner.logger.warning(f"{maps}: {error}. The picture lacks the map it held.")
                return
            self._maps = {name: arrays[name] for name in ("before",) if name in arrays}
            self._labels = arrays["labels"].tolist()

    def _measure_start(self, runner: Runner) -> None:
        record, loop = self.record, runner.val_loop
        with fixed_randomness(self.seed):
            loop.run()
            record.knn_before = self._last_accuracy()
            if hasattr(loop, "largest_class_share"):
                record.largest_class = float(loop.largest_class_share())
            if not (self.raw_pixels and hasattr(loop, "raw_pixel_accuracy")):
                return
            pixels = sum(_bytes_of_pixels(x) for x in (loop.bank_loader, loop.dataloader))
            if pixels > MAX_PIXEL_BYTES:
                runner.logger.info(
                    f"kNN on raw pixels is left out: it would hold {pixels / 1e9:.1f} GB of "
                    f"images, more than {MAX_PIXEL_BYTES / 1e9:.0f} GB"
                )
                return
            record.raw_pixels = float(loop.raw_pixel_accuracy())

    def _keep_map(self, runner: Runner, when: str) -> None:
        if not (self.picture and is_main_process()):
            return
        loader, model = runner.train_dataloader, unwrapped(runner.model)
        indices, self._labels = choose_images(loader.dataset, self.num_images)
        views = fixed_views(loader, model, indices, self.seed)
        if views is None or not hasattr(model, "backbone"):
            return
        similarity = two_view_similarity(model, views)
        self._maps[when] = similarity.numpy()
        self.record.similarity[when] = describe_similarity(similarity)
        arrays = {"labels": np.array(self._labels, dtype=np.int64), **self._maps}
        path = self._folder / "summary_maps.npz"
        with self._spared(runner, path.name):
            write_atomic(arrays, path, save=lambda a, f: np.savez(f, **a))

    def _add_point(self, done: int) -> None:
        """The mean since the last point, at the number of iterations done."""
        if self._sum is None or self._count == 0:
            return
        x = self._x(done)
        for term, value in zip(self._terms, (self._sum / self._count).tolist(), strict=True):
            self.record.losses.setdefault(term, []).append([x, value])
        self._sum, self._count = torch.zeros_like(self._sum), 0

    def _draw(self, name: str) -> None:
        record = self.record
        if record.knn_before is not None and record.knn_after is not None:
            name += (
                f": kNN {record.knn_before:.1f} % before, {record.knn_after:.1f} % after training"
            )
        levels = {"kNN on raw pixels": record.raw_pixels, "largest class": record.largest_class}
        run = RunCurves(
            losses=record.losses,
            accuracy=record.accuracy,
            levels={k: v for k, v in levels.items() if v is not None},
            unit=record.unit,
            maps={f"{when} training": values for when, values in self._maps.items()},
            labels=self._labels or None,
        )
        write_atomic(
            run, self._folder / "summary.png", save=lambda r, f: save_run_figure(r, f, name)
        )

    def _store(self, runner: Runner) -> None:
        now = time.monotonic()
        self.record.seconds += now - self._since
        self._since = now
        if is_main_process():
            with self._spared(runner, "summary.json"):
                self.record.write(self._folder / "summary.json")

    def _x(self, iteration: int) -> float:
        return iteration / self._iters_per_unit

    def _accuracy_at(self) -> float | None:
        return self.record.accuracy[-1][0] if self.record.accuracy else None

    def _last_accuracy(self) -> float | None:
        return self.record.accuracy[-1][1] if self.record.accuracy else None


def _bytes_of_pixels(loader) -> int:
    """Float32 bytes of a loader's images, judged by the first."""
    return 4 * int(np.prod(loader.dataset[0]["inputs"].shape)) * len(loader.dataset)
