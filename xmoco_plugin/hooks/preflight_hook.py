# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

import torch
from mmengine.dataset import InfiniteSampler
from mmengine.dist import get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch import nn

from ..distributed import unwrapped
from ..evaluation.same_classes import unlike_classes
from ..log_detail import DETAIL
from .run_facts import RunFacts

# As the host's CheckpointHook names them.
CHECKPOINT = re.compile(r"(best_.*|epoch|iter)_\d+\.pth$")
SHOWN = 4  # files that are named


@HOOKS.register_module()
class PreflightHook(Hook):
    """Checks, before the first step, what would waste a run, and says it in plain words.

    One log line "preflight: ..." for each finding. Works with every algorithm of mmpretrain; a
    check whose subject is absent (no queue, no classes, ...) is left out.

    Args:
        given: in a run of `xmoco pretrain`, the settings that its user has given by option. What
            the command has chosen by itself is not warned of, and warnings name options. Default:
            None, for a config of the user's own.

    Raises:
        ValueError: where training cannot be right: no images, no iteration, no negative pair, a
            batch that SplitBN cannot split, SyncBN on CPUs, more neighbours than the kNN bank has,
            files left to the device by a pipeline that goes on with pixels, batches on the device
            that the loader is to pin.
    """

    priority = "VERY_HIGH"

    def __init__(self, given: Sequence[str] | None = None) -> None:
        self.given = given

    def before_train(self, runner: Runner) -> None:
        facts = RunFacts.of(runner)
        model = unwrapped(runner.model)
        runner.logger.info(f"preflight: {facts.sentence()}", extra=DETAIL)
        for error in self.errors(runner, facts, model):
            raise ValueError(f"preflight: {error}")
        for warning in self.warnings(runner, facts, model):
            runner.logger.warning(f"preflight: {warning}")

    def errors(self, runner: Runner, facts: RunFacts, model: nn.Module) -> Iterator[str]:
        """What makes the run pointless, one sentence each."""
        if facts.images == 0:
            yield f"no images found in {facts.root}: check data_root and data_prefix"
        if facts.iters_per_epoch == 0 and not _is_endless(runner):
            yield (
                f"{facts.images:,} images do not fill one batch of {facts.global_batch:,} "
                f"({facts.describe_batch()}) and drop_last leaves it out, so an epoch has 0 "
                "iterations: lower batch_size, or set drop_last=False"
            )
        if _has_pair_terms(model):
            for batch, which in ((facts.global_batch, "batch"), (facts.last_batch, "last batch")):
                if batch == 1:
                    yield (
                        f"the {which} of an epoch holds 1 image over all processes: it has no "
                        "negative pair; set batch_size to at least 2 and drop_last=True"
                    )
        splits = {m.num_splits for m in model.modules() if hasattr(m, "num_splits")}
        per_process = {facts.batch_size, facts.last_batch // facts.processes} - {0}
        for n, batch in ((n, b) for n in sorted(splits) for b in sorted(per_process)):
            if batch % n:
                yield (
                    f"SplitBN splits a batch into {n} parts, but a process gets {batch} images: "
                    f"choose a batch_size that is a multiple of {n}, and drop_last=True"
                )
        if _sync_bn_layers(model) and get_world_size() > 1 and _device(model).type == "cpu":
            yield "SyncBN does not run on CPUs: use norm_cfg=dict(type='BN'), or GPUs"
        yield from _knn_errors(runner)
        yield from _class_errors(runner)
        yield from _pipeline_errors(runner)
        yield from _loader_errors(runner)

    def warnings(self, runner: Runner, facts: RunFacts, model: nn.Module) -> Iterator[str]:
        """What is probably not meant, one sentence each."""
        queue = getattr(model, "queue_len", None)
        if self.given is not None and "queue_len" not in self.given:
            queue = None
        # Whose keys never go stale, and are no negatives.
        taught = getattr(getattr(model, "head", None), "keys_of_teacher", False)
        setting = "model.num_keys" if taught else "model.queue_len"
        setting = setting if self.given is None else "--queue-len"
        if queue and facts.images and queue > facts.images and not taught:
            yield (
                f"the queue holds {queue:,} keys but the data set only {facts.images:,} images: "
                f"each image is about {queue / facts.images:.1f} times in the queue, so its own "
                f"stale keys are among its negatives; set {setting} to at most "
                f"{facts.images:,}, better a quarter of it"
            )
        if queue and facts.global_batch > queue:
            yield (
                f"a global batch of {facts.global_batch:,} is larger than the queue of {queue:,} "
                f"keys, which then never holds a key older than one step; lengthen {setting}"
            )
        yield from _learning_rate(runner, facts)
        yield from _earlier_run(runner)
        if get_world_size() == 1 and "SyncBN" in str(runner.cfg.get("model", "")):
            yield (
                "the config asks for SyncBN, but there is one process and nothing to synchronise: "
                "plain BatchNorm is used"
            )


def _is_endless(runner: Runner) -> bool:
    """Whether batches go on over the end of the set, which then fills any."""
    return isinstance(runner.train_dataloader.sampler, InfiniteSampler)


def _learning_rate(runner: Runner, facts: RunFacts) -> Iterator[str]:
    auto = runner.auto_scale_lr or {}
    base = auto.get("base_batch_size")
    if not base or auto.get("enable", False) or not hasattr(runner.optim_wrapper, "optimizer"):
        return
    batch = facts.global_batch * facts.accumulation
    if base / 2 <= batch <= base * 2:
        return
    group = runner.optim_wrapper.optimizer.param_groups[0]
    rate = group.get("initial_lr", group["lr"])
    yield (
        f"the learning rate {rate:g} belongs to a global batch of {base:,}, this run has "
        f"{batch:,} ({facts.describe_batch()}): by the linear rule it would be "
        f"{rate * batch / base:.3g}; set it, "
        # mmengine's scaling does not count accumulated batches.
        + ("" if facts.accumulation > 1 else "or use --auto-scale-lr, ")
        + f"or, if you chose it for this batch, set auto_scale_lr.base_batch_size={batch}"
    )


def _earlier_run(runner: Runner) -> Iterator[str]:
    if runner.iter > 0:
        return
    folder = Path(runner.work_dir)
    files = [file for file in folder.glob("*.pth") if CHECKPOINT.match(file.name)]
    if files:
        names = [file.name for file in sorted(files, key=lambda file: file.stat().st_mtime)]
        more = f" and {len(names) - SHOWN:,} more" if len(names) > SHOWN else ""
        yield (
            f"{folder} holds checkpoints of an earlier run: {', '.join(names[:SHOWN])}{more}; name "
            "another --work-dir, or go on with that run by --resume"
        )


def _knn_errors(runner: Runner) -> Iterator[str]:
    loop = runner.val_loop
    bank = getattr(loop, "bank_loader", None)
    if bank is None:
        return
    largest, images = max(k for k, _ in loop.settings), len(bank.dataset)
    if largest > images:
        yield f"kNN asks for {largest:,} neighbours, but its bank has {images:,} images: lower k"
    if unlike := unlike_classes(bank.dataset, loop.dataloader.dataset):
        yield (
            f"bank and queries of kNN number their classes in two ways: {unlike}; give both data "
            "sets the same classes=[...]"
        )


def _class_errors(runner: Runner) -> Iterator[str]:
    """Of a classifier, which is judged by numbers that it has learnt."""
    loop = runner.val_loop
    head = getattr(unwrapped(runner.model), "head", None)
    if loop is None or getattr(loop, "bank_loader", None) is not None:
        return
    if not hasattr(head, "num_classes"):
        return
    if unlike := unlike_classes(runner.train_dataloader.dataset, loop.dataloader.dataset):
        yield (
            f"training and validation set number their classes in two ways: {unlike}; give both "
            "the same classes=[...]"
        )


def _pipeline_errors(runner: Runner) -> Iterator[str]:
    pipeline = getattr(runner.train_dataloader.dataset, "pipeline", None)
    transforms = getattr(pipeline, "transforms", ())
    names = [type(transform).__name__ for transform in transforms]
    for i, transform in enumerate(transforms):
        if getattr(transform, "defer_jpegs", False) and "PackRaggedInputs" not in names[i:]:
            yield (
                f"{names[i]}(defer_jpegs=True) hands on files, and {', '.join(names[i + 1 :])} "
                "take pixels: let PackRaggedInputs and a TwoViewDataPreprocessor follow, or set "
                "defer_jpegs=False"
            )


def _loader_errors(runner: Runner) -> Iterator[str]:
    loader = runner.train_dataloader
    place = getattr(loader.dataset, "place", None)
    if isinstance(place, torch.device) and place.type != "cpu" and loader.pin_memory:
        yield (
            f"{type(loader.dataset).__name__} has its images on {place}, where torch cannot pin "
            "them: set pin_memory=False for its loader"
        )


def _has_pair_terms(model: nn.Module) -> bool:
    """Whether a term with weight compares the images of a batch with each other."""
    head = getattr(model, "head", None)
    terms = [getattr(head, name, None) for name in ("consistency", "uniformity")]
    return any(
        term is not None
        and "batch" in (getattr(term, "pairs", None), getattr(term, "negatives", None))
        and getattr(term, "loss_weight", 1) > 0
        for term in terms
    )


def _sync_bn_layers(model: nn.Module) -> bool:
    return any(isinstance(module, nn.SyncBatchNorm) for module in model.modules())


def _device(model: nn.Module) -> torch.device:
    return next(model.parameters()).device
