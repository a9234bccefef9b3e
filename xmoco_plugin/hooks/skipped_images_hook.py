# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from collections.abc import Iterator, Sequence
from typing import Any

from mmengine.dist import all_gather_object, get_world_size
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS
from torch.utils.data import Dataset

from ..log_detail import DETAIL
from ..untrusted import printable

LOADERS = {"LoadImageOrSkip", "LoadTileOrSkip", "LoadChannelsOrSkip"}


@HOOKS.register_module()
class SkippedImagesHook(Hook):
    """Names, counts and limits the images that ``LoadImageOrSkip`` could not read.

    Each file is logged once, as a warning with its reason; the total after each pass over the data
    that brought a new one, and at the end. Training stops when the different unreadable files,
    over all processes, exceed ``max_share`` of the training set. Processes exchange what they
    found every ``interval`` iterations and at the end of a pass; one process alone judges each
    file as it comes.

    Reads ``skipped`` from the data samples' meta information, so the pipeline must pack it:
    ``PackInputs(meta_keys=(..., 'skipped'))``.

    Args:
        max_share (float): Stop above this share of the training set, in [0, 1]. Defaults to 0.01
            (ours).
        min_count (int): So many unreadable files are always let pass: in a set of 20, one is 5 %
            and no reason to stop. Defaults to 3 (ours).
        interval (int): Iterations between two exchanges of several processes. Defaults to 100.

    Raises:
        ValueError: Above the share, with the numbers; before training, if the pipeline loads with
            LoadImageOrSkip but does not pack ``skipped``; for arguments out of their range.
    """

    priority = "NORMAL"

    def __init__(self, max_share: float = 0.01, min_count: int = 3, interval: int = 100) -> None:
        if not 0 <= max_share <= 1:
            raise ValueError(f"max_share is {max_share}; it is a share, in [0, 1]")
        if min_count < 0 or interval < 1:
            raise ValueError(
                f"min_count is {min_count} and interval {interval}; they must be at least 0 and 1"
            )
        self.max_share = max_share
        self.min_count = min_count
        self.interval = interval
        self.skipped: dict[str, str] = {}  # path: reason, of all processes after an exchange
        self._fresh: dict[str, str] = {}  # found by this process since the last exchange
        self._reported = 0  # length of ``skipped`` when the total was last logged

    def before_train(self, runner: Runner) -> None:
        """Make sure that skipped images will be seen here."""
        for dataset in _inner_datasets(runner.train_dataloader.dataset):
            steps = list(getattr(getattr(dataset, "pipeline", None), "transforms", ()))
            names = [type(step).__name__ for step in steps]
            packed = [step.meta_keys for step in steps if hasattr(step, "meta_keys")]
            if LOADERS & set(names) and not any("skipped" in keys for keys in packed):
                raise ValueError(
                    "the training pipeline reads with LoadImageOrSkip, but its PackInputs does not "
                    "hand on what was skipped, so unreadable files would go unnoticed: give it "
                    "meta_keys=('sample_idx', 'img_path', 'skipped')"
                )

    def after_train_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None
    ) -> None:
        """Collect what the samples of this batch report."""
        for path, reason in _skipped_in(data_batch):
            if path not in self.skipped and path not in self._fresh:
                self._fresh[path] = reason
        # Iterations are the same on all ranks, files are not: an exchange may hang on nothing else.
        pass_ended = (batch_idx + 1) % max(len(runner.train_dataloader), 1) == 0
        alone = get_world_size() == 1
        if (alone and self._fresh) or pass_ended or (batch_idx + 1) % self.interval == 0:
            self._exchange(runner)
        if pass_ended and len(self.skipped) > self._reported:
            self._report(runner)

    def after_train(self, runner: Runner) -> None:
        """Log the total."""
        self._exchange(runner)
        self._report(runner)

    def _exchange(self, runner: Runner) -> None:
        """Make ``skipped`` complete on every process, log what is new, stop above the share."""
        found = all_gather_object(self._fresh) if get_world_size() > 1 else [self._fresh]
        for path, reason in sorted(item for files in found for item in files.items()):
            if path not in self.skipped:
                self.skipped[path] = reason
                runner.logger.warning(f"skipped an unreadable image: {printable(path)}: {reason}")
        self._fresh = {}
        images, bad = len(runner.train_dataloader.dataset), len(self.skipped)
        if bad > max(self.max_share * images, self.min_count):
            path, reason = next(reversed(self.skipped.items()))
            raise ValueError(
                f"{bad:,} of {images:,} training images could not be read so far "
                f"({bad / images:.2%}), more than max_share={self.max_share:.2%} allows; the last "
                f"is {printable(path)}: {reason}. Mend or remove the files that the log names, or "
                "raise SkippedImagesHook's max_share"
            )

    def _report(self, runner: Runner) -> None:
        images, bad = len(runner.train_dataloader.dataset), len(self.skipped)
        text = f"unreadable images: {bad:,} of {images:,} ({bad / images:.2%})"
        runner.logger.info(text, extra={} if bad else DETAIL)
        self._reported = bad


def _skipped_in(data_batch: Any) -> Iterator[tuple[str, str]]:
    """(path, reason) of every file that the samples of a collated batch were drawn instead of."""
    samples = data_batch.get("data_samples") if isinstance(data_batch, dict) else None
    for sample in samples if isinstance(samples, Sequence) else ():
        yield from getattr(sample, "metainfo", {}).get("skipped", ())


def _inner_datasets(dataset: Any) -> Iterator[Any]:
    """The datasets inside mmengine's and torch's wrappers."""
    parts = [*(getattr(dataset, "datasets", None) or ()), getattr(dataset, "dataset", None)]
    inner = [part for part in parts if isinstance(part, Dataset)]
    if not inner:
        yield dataset
    for part in inner:
        yield from _inner_datasets(part)
