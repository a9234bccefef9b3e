# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import math
from pathlib import Path
from typing import Any

import torch
from mmengine.dist import all_gather_object, is_main_process
from mmengine.hooks import Hook, LoggerHook
from mmengine.optim import OptimWrapper
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from ..distributed import unwrapped
from ..evaluation import Answers, change
from ..evaluation.diagnostics import relative_distance
from ..evaluation.step_health import measure_step
from ..evaluation.verdict import Accuracy, judge
from .embedding_capture import EmbeddingCapture, temperature_of
from .health_pass import PASS, pass_state, read_pass
from .health_record import HealthRecord
from .health_window import HealthWindow
from .run_facts import RunFacts, momentum_encoder, warms_up
from .spared import Spared

STATE = "health"  # of this hook in the message hub, which goes into every checkpoint
VERDICT = "health_verdict"  # in the message hub: epoch, iter, verdict and reason of the latest


@HOOKS.register_module()
class HealthHook(Hook):
    """Says while it trains whether a self-supervised run is learning, with the numbers behind it.

    Now and then it looks at the embeddings that the head compares, at the gradient and at the key
    encoder: on the device, from tensors that exist already. When the host logs, the means since
    the last time go to its log and to every visualizer backend as ``health/<name>``. After every
    pass over the data (an epoch) one line gives the verdict - 'learning', 'collapsing', 'not
    learning' or 'too early' - and is appended with numbers and histograms to ``health.jsonl`` in
    the work dir; other hooks find it in the message hub under :data:`VERDICT`. docs/judge_a_run.md
    says what the numbers mean and where the thresholds come from.

    Works with every algorithm whose head gets embeddings or similarities, see
    :class:`EmbeddingCapture`; what an algorithm has not (a queue, a temperature, a momentum
    encoder) is left out. All processes have the same numbers; the first writes.

    Args:
        interval: iterations between two looks, fewer where an epoch would have less than 2.
            Default 50 (ours): under 1 % of the time of a step.
        metric: of the validation, percent, for the verdict.
        pretrained: whether training begins with good weights, which may become worse: a kNN that
            falls below theirs is a verdict of its own, from the first epoch on. Default False.
    """

    priority = "NORMAL"  # before LoggerHook

    def __init__(
        self, interval: int = 50, metric: str = "accuracy/top1", pretrained: bool = False
    ) -> None:
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.interval, self.metric, self.pretrained = interval, metric, pretrained
        self._keys = 0  # that have entered the queue
        self._queue_loaded = False
        self._accuracies: list[list[float]] = []  # [iteration, percent]
        self._first_hits = ""  # of the start, packed
        self._pending: dict[str, Any] | None = None  # line of the pass that ended
        self._training = False  # a validation or test may come without
        self._loaded: Any = None  # of a checkpoint, what it knows of its pass
        self._gathered: list[dict[str, Any]] = []  # of each process, its window
        self._gradients: list[torch.Tensor] = []

    def after_load_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Note a queue that comes with its keys, and what the pass has seen so far."""
        self._queue_loaded = "queue" in checkpoint.get("state_dict", checkpoint)
        self._loaded = checkpoint.get(PASS) if runner._resume else None

    def before_timed_checkpoint(self, runner: Runner) -> None:
        """Collect what each process has seen of the pass; collective."""
        self._gathered = all_gather_object(self._window.state())

    def before_save_checkpoint(self, runner: Runner, checkpoint: dict) -> None:
        """Keep the pass in the checkpoint: a resumed run gives the verdict on all of it."""
        if self._training:
            windows = self._gathered or [self._window.state()]
            gradients = [float(norm) for norm in self._gradients]
            checkpoint[PASS] = pass_state(self._early, self._pending, gradients, windows)
            self._gathered = []

    def before_train(self, runner: Runner) -> None:
        model = unwrapped(runner.model)
        facts = RunFacts.of(runner)
        self._iters_per_pass = max(facts.iters_per_epoch, 1)
        self._every = max(1, min(self.interval, self._iters_per_pass // 2))
        self._queue_len = getattr(model, "queue_len", 0)
        self._keys_per_iter = facts.global_batch * (2 if getattr(model, "symmetric", False) else 1)
        self._take_up(runner)
        self._encoders, lag = momentum_encoder(model)
        self._lag = lag * facts.accumulation
        self._window = HealthWindow()
        self._pending, self._training = None, True
        self._early: str | None = self._too_early(runner)
        self._listen(runner, model)
        loaded, self._loaded = self._loaded, None
        if (state := read_pass(loaded)) is not None and runner.iter > 0:
            device = next(model.parameters()).device
            self._early, self._pending, gradients, window = state
            self._gradients = [torch.tensor(norm, device=device) for norm in gradients]
            self._window.load(window, device)
            if self._pending is not None and is_main_process():
                self._record.forget_after(runner.iter - 1)  # the verdict is given once more

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._speak(runner)
        if runner.iter % self._iters_per_pass == 0:
            self._early = self._too_early(runner)
        if self._capture is not None and (runner.iter + 1) % self._every == 0:
            self._capture.listening = self._gradient_due = True

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch=None, outputs: dict | None = None
    ) -> None:
        self._keys += self._keys_per_iter
        self._keep_state(runner)
        if self._capture is None:
            return
        if self._capture.listening and (seen := self._capture.take()) is not None:
            self._window.add(measure_step(seen, self._temperature))
        ends = (runner.iter + 1) % self._iters_per_pass == 0
        if self._window.looks and (ends or _logs_now(runner, batch_idx)):
            self._read(runner)
        if ends:
            self._end_pass(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        if not self._training:
            return
        if metrics and self.metric in metrics:
            self._accuracies.append([runner.iter, float(metrics[self.metric])])
            if runner.iter == 0:
                self._first_hits = _answers(runner).packed
            self._keep_state(runner)
        self._speak(runner)

    def after_train(self, runner: Runner) -> None:
        self._speak(runner)
        self._training = False
        if self._capture is not None:
            self._capture.close()
        if self._gradient_handle is not None:
            self._gradient_handle.remove()

    def _listen(self, runner: Runner, model: nn.Module) -> None:
        self._capture, self._gradient_handle = None, None
        self._gradients = []
        self._gradient_due = False
        if not callable(getattr(getattr(model, "head", None), "loss", None)):
            runner.logger.info("health: the model has no head with a loss: nothing to watch")
            return
        self._capture = EmbeddingCapture(model)
        self._temperature = temperature_of(model.head)
        # Of several optimizers, none is the model's.
        if isinstance(runner.optim_wrapper, OptimWrapper):
            hook = runner.optim_wrapper.optimizer.register_step_pre_hook
            self._gradient_handle = hook(self._look_at_gradient)

    def _take_up(self, runner: Runner) -> None:
        """Go on from what an earlier part of this run knew."""
        self._record = HealthRecord(Path(runner.work_dir) / "health.jsonl")
        self._spared = Spared()
        if is_main_process():
            self._record.forget_after(runner.iter)
            # A checkpoint is older than the verdict on its epoch.
            for line in self._record.lines()[-1:]:
                _tell(runner, line)
        state = runner.message_hub.runtime_info.get(STATE, {}) if runner.iter else {}
        state = state if isinstance(state, dict) else {}
        loaded = self._queue_len if self._queue_loaded else 0
        self._keys = state.get("keys", runner.iter * self._keys_per_iter or loaded)
        self._accuracies = list(state.get("accuracies", []))
        self._first_hits = state.get("first_hits", "")

    def _keep_state(self, runner: Runner) -> None:
        state = dict(keys=self._keys, accuracies=self._accuracies, first_hits=self._first_hits)
        runner.message_hub.update_info(STATE, state)

    def _look_at_gradient(self, optimizer: torch.optim.Optimizer, args, kwargs) -> None:
        if not self._gradient_due:
            return
        self._gradient_due = False
        parameters = (p for group in optimizer.param_groups for p in group["params"])
        norm = torch.nn.utils.get_total_norm([p.grad for p in parameters if p.grad is not None])
        # A gradient scaler has divided by its scale before the step, except for fused optimizers,
        # which do that themselves.
        scale = getattr(optimizer, "grad_scale", None)
        self._gradients.append(norm if scale is None else norm / scale)

    def _read(self, runner: Runner) -> None:
        """Hand the means since the last time to the host's log."""
        values = self._window.read()
        further: dict[str, float] = {}
        if self._encoders is not None:
            with torch.no_grad():
                key, query = (encoder.parameters() for encoder in self._encoders)
                further["ema_distance"] = float(relative_distance(key, query))
        clipped = runner.message_hub.log_scalars.get("train/grad_norm")
        if clipped is not None:  # the host's, of the gradient before it was clipped
            further["grad_norm"] = float(clipped.current())
        elif self._gradients:
            further["grad_norm"] = float(torch.stack(self._gradients).mean())
        self._gradients = []
        if self._queue_len:
            keys = min(self._keys, self._queue_len)
            further["queue_fill"] = keys / self._queue_len
            further["queue_age_steps"] = float(math.ceil(keys / self._keys_per_iter))
            further["queue_age_epochs"] = further["queue_age_steps"] / self._iters_per_pass
        self._window.note(further)
        for name, value in (values | further).items():
            runner.message_hub.update_scalar(f"train/health/{name}", value)

    def _end_pass(self, runner: Runner) -> None:
        values, histograms = self._window.end_pass()
        done = runner.iter + 1
        self._pending = {
            "epoch": done // self._iters_per_pass,
            "iter": done,
            "values": values,
            **histograms,
            "early": self._early,
        }

    def _speak(self, runner: Runner) -> None:
        """Give the verdict of the pass that ended, now that a validation may have followed it."""
        if self._pending is None:
            return
        line, self._pending = self._pending, None
        verdict = judge(
            line["values"],
            temperature=self._temperature,
            early=line.pop("early"),
            accuracy=self._accuracy(runner),
            taught=getattr(unwrapped(runner.model).head, "keys_of_teacher", False),
        )
        say = runner.logger.warning if verdict.is_failure else runner.logger.info
        say(f"health: {verdict}")
        broken = sorted(n for n, v in line["values"].items() if not math.isfinite(v))
        line["values"] = {n: v for n, v in line["values"].items() if math.isfinite(v)}
        if broken:
            line["not_finite"] = broken
        line |= dict(verdict=verdict.verdict, reason=verdict.reason)
        _tell(runner, line)
        if is_main_process():
            with self._spared(runner, "health.jsonl"):
                self._record.append(line)

    def _accuracy(self, runner: Runner) -> Accuracy | None:
        if len(self._accuracies) < 2 or self._accuracies[0][0] > 0:
            return None
        now, before = self._accuracies[-1][1], self._accuracies[0][1]
        images = len(runner.val_dataloader.dataset)
        error, latest = None, _answers(runner)
        first = Answers.of(before, images, self._first_hits)
        if first.hits is not None and latest.hits is not None:
            error = change(first, latest).error
        return Accuracy(now, before, images, error, self.pretrained)

    def _too_early(self, runner: Runner) -> str | None:
        if self._queue_len and self._keys < self._queue_len:
            return f"the queue was {self._keys / self._queue_len:.0%} full when this epoch began"
        if warms_up(runner):
            return "the learning rate is being warmed up"
        if runner.iter < self._lag:
            return f"the key encoder averages over {self._lag:,} iterations"
        return None


def _answers(runner: Runner) -> Answers:
    """Of the latest validation; without hits where its loop does not tell them."""
    found = getattr(runner.val_loop, "answers", None)
    return found if isinstance(found, Answers) else Answers(0.0, 0)


def _tell(runner: Runner, line: dict[str, Any]) -> None:
    """Let other hooks know a verdict."""
    names = ("epoch", "iter", "verdict", "reason", "not_finite")
    runner.message_hub.update_info(VERDICT, {n: line.get(n) for n in names})


def _logs_now(runner: Runner, batch_idx: int) -> bool:
    """Whether the host logs after this iteration."""
    return any(
        isinstance(hook, LoggerHook) and hook.every_n_inner_iters(batch_idx, hook.interval)
        for hook in runner.hooks
    )
