# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoint import CheckpointError, write_atomic
from ..distributed import unwrapped
from ..evaluation import Answers, Change, change, is_fit
from .fixed_look import FixedLook
from .health_record import HealthRecord
from .healthy_export_hook import PTH, HealthyExportHook

STATE = "best_export_state"  # in the message hub, which checkpoints keep
HANDED_OVER = "handed_over"  # a sentence, in the message hub
FIGURES = "backbone_figures"  # another
START, LINES = "start.pth", "weights.jsonl"
ALIKE = 2.0  # effective rank below which features are all alike (ours)


@HOOKS.register_module()
class BestExportHook(HealthyExportHook):
    """Keeps the backbone of the best of all checkpoints, the start included, in the work dir.

    As :class:`HealthyExportHook`, and the weights that training begins with are a checkpoint too:
    epoch 0, ``start.pth``. Where a kNN validation runs before the first iteration, as
    :class:`RunSummaryHook` makes it, and at each checkpoint, kNN decides:

    - a checkpoint is handed over if it has the highest kNN so far, and is fit to replace the start
      (:func:`~xmoco_plugin.evaluation.is_fit`): good weights must be beaten by more than one
      standard error of the difference, random ones need not be beaten, but not lost to by more;
    - what collapses or is NaN is never handed over, whatever its kNN.

    Without labels there is no measure by which one is better, so the latest healthy one is handed
    over, with a warning; good weights are replaced by no epoch that is not learning.

    ``weights.jsonl`` has a line for each checkpoint, the start first: kNN, which queries were
    answered rightly, figures without labels (:class:`FixedLook`), the verdict, and whether the
    checkpoint was handed over and why. The record in the files has the same. Random weights are
    handed over only where there are labels.

    Args:
        pretrained: whether training begins with good weights. Default False.
        metric: of the validation, percent.
        labels_trained_on: labelled images that are trained on, for the record; a text such as
            'at least 3' where only a sample is known. Default 0.
        interval: every so many checkpoints; the last is always dealt with. Default 1.
    """

    def __init__(
        self,
        pretrained: bool = False,
        metric: str = "accuracy/top1",
        labels_trained_on: int | str = 0,
        interval: int = 1,
    ) -> None:
        super().__init__(interval)
        self.pretrained, self.metric = pretrained, metric
        self.labels_trained_on = labels_trained_on
        self._look_at = FixedLook()
        self._start: Answers | None = None
        self._now: tuple[int, Answers] | None = None  # iteration, of the latest validation
        self._begun = False
        self._why = ""  # of the checkpoint that is dealt with
        self._exported: Answers | None = None  # its
        self._figures: dict[str, dict[str, float]] = {}

    def before_train(self, runner: Runner) -> None:
        super().before_train(runner)
        self._begun, self._start, self._now = runner.iter > 0, None, None
        self._look_at = FixedLook()
        if not is_main_process():
            return
        self._lines = HealthRecord(Path(runner.work_dir) / LINES)
        self._lines.forget_after(runner.iter if self._begun else -1)
        state = runner.message_hub.runtime_info.get(STATE) if self._begun else None
        if isinstance(state, dict):
            if "percent" in state:
                self._start = Answers.of(state["percent"], state["queries"], state["hits"])
            if state.get("neighbours"):
                self._look_at.first = torch.tensor(state["neighbours"])
        if lines := self._lines.lines():
            self._figures = {"start": lines[0].get("values", {})}
            if lines[-1]["iter"] == runner.iter:  # dealt with, though it may have been held back
                self._seen = self._judged = runner.message_hub.runtime_info.get("last_ckpt")
        self._tell(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if metrics and self.metric in metrics:
            found = getattr(runner.val_loop, "answers", None)
            queries = len(runner.val_loop.dataloader.dataset)
            hits = found.hits if isinstance(found, Answers) and found.queries == queries else None
            self._now = runner.iter, Answers(float(metrics[self.metric]), queries, hits)
        if self._begun:
            super().after_val_epoch(runner, metrics)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        if not self._begun:  # whatever validates before the first iteration has done so
            self._begun = True
            if is_main_process():
                self._begin(runner)
        super().before_train_iter(runner, batch_idx, data_batch)

    def after_train(self, runner: Runner) -> None:
        super().after_train(runner)
        if is_main_process():
            self._tell(runner)

    def _begin(self, runner: Runner) -> None:
        """Note the start, keep its weights, and hand them over until something better comes."""
        self._start = self._now[1] if self._now and self._now[0] == 0 else None
        figures, model = self._look_at(runner), unwrapped(runner.model)
        first = self._look_at.first
        # Plain values: a checkpoint is read without running code, and these are part of it.
        state: dict[str, Any] = {"neighbours": first.tolist() if first is not None else []}
        if self._start is not None:
            state |= dict(percent=self._start.percent, queries=self._start.queries)
            state["hits"] = self._start.packed
        runner.message_hub.update_info(STATE, state)
        source = Path(runner.work_dir) / START
        meta = dict(
            epoch=0, iter=0, cfg=runner.cfg.pretty_text, experiment_name=runner.experiment_name
        )
        weights = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.")}
        why = "nothing has been trained yet"
        handed = bool(weights) and (self.pretrained or self._start is not None)
        self._verdict, self._broken, self._exported = None, [], self._start
        self._figures = {"start": figures}
        try:
            if weights:
                write_atomic({"state_dict": weights, "meta": meta}, source, save=torch.save)
            if handed:
                self._why = self._of_start()
                self._export(runner, source)
        except (CheckpointError, OSError) as error:
            handed, why = False, str(error)
            runner.logger.warning(f"export: the weights that the run began with: {why}")
        if handed:
            why = "what the run began with, until a checkpoint is fit to replace it"
        self._note(0, 0, self._start, figures, None, handed, why)

    def _of_start(self) -> str:
        kind = "" if self.pretrained else "random "
        if self._start is None:
            return f"the {kind}weights that the run began with: no later checkpoint was fit"
        needed = (
            "beat them by more than one standard error"
            if self.pretrained
            else "came within one standard error of them"
        )
        return (
            f"the {kind}weights that the run began with, kNN {self._start.percent:.1f} %: no later "
            f"checkpoint {needed}"
        )

    def _deal_with(self, runner: Runner, source: Path) -> None:
        kept = self._kept
        figures = self._figures["end"] = self._look_at(runner)
        super()._deal_with(runner, source)
        handed = self._kept is not kept
        why = self._why if handed else self._why_held_back(runner) or "it could not be exported"
        epoch = getattr(runner, "epoch", 0)
        self._note(epoch, runner.iter, self._answers(runner), figures, self._verdict, handed, why)
        self._tell(runner)

    def _why_held_back(self, runner: Runner) -> str | None:
        now = self._exported = self._answers(runner)
        if self._start is None or now is None or self._verdict == "collapsing" or self._broken:
            if self._verdict == "not learning" and self.pretrained and not self._kept.get("epoch"):
                return "it is not learning, and the run began with good weights"
            if self._start is not None and now is None and self._kept.get("knn") is not None:
                return "its kNN was not measured"
            latest = f"the latest that is fit ({self._verdict or 'no verdict'})"
            if self._verdict == "not learning":
                latest = "the latest, whose verdict is 'not learning'"
            self._why = (
                f"{latest}; no kNN was measured, so it is not known whether it is better than what "
                f"the run began with{_alike(self._figures)}"
            )
            return super()._why_held_back(runner)
        since = change(self._start, now)
        if not is_fit(since, self.pretrained):
            return f"kNN {_moved(since)} since the start"
        best = self._kept.get("knn") if self._kept.get("epoch") else None
        if best is not None and now.percent < best:
            return f"kNN {now.percent:.1f} % is below the {best:.1f} % of {self._kept['source']}"
        highest = "the highest kNN so far"
        if since.points < 0:  # of random weights, which within one error are replaced
            highest = "the highest kNN of the checkpoints, and below the start's"
        self._why = f"{highest}: {_moved(since)} since the start{_alike(self._figures)}"
        return None

    def _facts(self) -> dict[str, Any]:
        answers = self._exported
        facts = super()._facts() | dict(
            why=self._why,
            began="pretrained" if self.pretrained else "random",
            start_knn=self._start.percent if self._start else None,
            knn=answers.percent if answers else None,
            queries=answers.queries if answers else None,
        )
        if answers is not None and self.labels_trained_on:
            facts["labels_trained_on"] = self.labels_trained_on
        return facts

    def _answers(self, runner: Runner) -> Answers | None:
        """Of the weights as they are now; None where they were not validated."""
        return self._now[1] if self._now and self._now[0] == runner.iter else None

    def _note(
        self,
        epoch: int,
        iteration: int,
        answers: Answers | None,
        figures: dict[str, float],
        verdict: str | None,
        handed: bool,
        why: str,
    ) -> None:
        line: dict[str, Any] = dict(epoch=epoch, iter=iteration, handed_over=handed, why=why)
        line["values"] = {k: v for k, v in figures.items() if math.isfinite(v)}
        if verdict:
            line["verdict"] = verdict
        if answers is not None:
            line |= dict(knn=answers.percent, queries=answers.queries, hits=answers.packed)
            if self._start is not None:
                since = change(self._start, answers)
                line |= dict(points=since.points, error=since.error)
        self._lines.append(line)

    def _tell(self, runner: Runner) -> None:
        """Let other hooks know what is handed over, and the figures of the start and the end."""
        if self._kept.get("why"):
            text = f"{PTH}: {self._kept['source']}, {self._kept['why']}"
            runner.message_hub.update_info(HANDED_OVER, text)
        if figures := _compared(self._figures):
            runner.message_hub.update_info(FIGURES, figures)


def _compared(figures: dict[str, dict[str, float]]) -> str:
    """'effective rank 30.1 -> 25.2, ...', of the start and of the latest checkpoint."""
    first, last = figures.get("start", {}), figures.get("end", {})
    names = dict(backbone_rank="effective rank", backbone_alignment="alignment")
    parts = [
        f"{text} {first[name]:.3g} -> {last[name]:.3g}"
        for name, text in names.items()
        if name in first and name in last
    ]
    if parts and "neighbours_kept" in last:
        parts.append(f"neighbours kept {last['neighbours_kept']:.0%}")
    return ", ".join(parts)


def _alike(figures: dict[str, dict[str, float]]) -> str:
    """What there is to say where a network that told images apart no longer does; else nothing."""
    first, last = (
        figures.get(name, {}).get("backbone_rank", math.nan) for name in ("start", "end")
    )
    if not (last < ALIKE and first >= 2 * ALIKE):
        return ""
    return (
        f". In evaluation mode all images look alike to it (effective rank {first:.1f} -> "
        f"{last:.1f}): BatchNorm's averages lag behind so few steps, or it has collapsed. Train "
        "longer before you use it"
    )


def _moved(since: Change) -> str:
    return f"{since.before:.1f} % -> {since.now:.1f} %, {since}"
