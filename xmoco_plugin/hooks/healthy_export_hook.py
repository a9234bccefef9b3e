# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoint import CheckpointError, read_checkpoint
from ..distributed import unwrapped
from ..evaluation.verdict import WORSE
from ..export import BackboneFile, prepare_file, read_weights, require_safetensors
from ..log_detail import DETAIL
from .health_hook import VERDICT

PTH, SAFETENSORS = "backbone.pth", "backbone.safetensors"


@HOOKS.register_module()
class HealthyExportHook(Hook):
    """Keeps the backbone of the latest healthy checkpoint in the work dir, for other libraries.

    ``backbone.pth`` is for mmpretrain, mmdet and mmseg; ``backbone.safetensors``, in timm's names,
    stands beside it where other libraries have such a backbone. Both are made from the checkpoint
    that the host has just written, as ``xmoco export`` makes them, once
    :class:`HealthHook` has given its verdict:

    - a 'collapsing' epoch is never exported;
    - one that is 'not learning' or 'worse than it began' replaces no export of a 'learning' one;
    - an epoch in whose health a value became NaN or infinite is never exported;
    - weights that are NaN or infinite are never exported; without a verdict, only this is asked.

    The log says what was exported or held back, and which export stays. Verdict and checkpoint
    stand in the record inside the files, which is where a resumed run finds them. What an earlier
    run has left in the folder holds nothing back. Rank 0 alone reads and writes.

    Args:
        interval: every so many checkpoints; the last is always exported. Default 1.
    """

    priority = "LOW"  # when HealthHook has spoken

    def __init__(self, interval: int = 1) -> None:
        if interval < 1:
            raise ValueError(f"interval must be at least 1, got {interval}")
        self.interval = interval
        self._training = False  # a validation or test may come without
        self._seen: str | None = None  # the latest checkpoint, and the one dealt with
        self._judged: str | None = None
        self._count = 0
        self._verdict: str | None = None  # on the latest checkpoint
        self._broken: list[str] = []  # values of its epoch that were NaN or infinite
        self._kept: dict[str, Any] = {}  # record of the export that is there
        self._said: set[str] = set()

    def before_train(self, runner: Runner) -> None:
        """Find the export of an earlier part of this run, and whether it lacks the last one."""
        if not is_main_process():
            return
        self._training, self._count, self._kept = True, 0, self._existing(runner)
        info = runner.message_hub.runtime_info
        # Of a run that was killed between the verdict and the export.
        missed = self._kept.get("iter", -1) < runner.iter == info.get(VERDICT, {}).get("iter")
        self._seen = self._judged = None if runner.iter and missed else info.get("last_ckpt")

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._look(runner)

    def before_train_iter(self, runner: Runner, batch_idx: int, data_batch=None) -> None:
        self._look(runner)

    def after_train(self, runner: Runner) -> None:
        self._look(runner, last=True)
        self._training = False

    def _look(self, runner: Runner, last: bool = False) -> None:
        """Deal with a checkpoint that is new since the last look."""
        info = runner.message_hub.runtime_info
        saved = info.get("last_ckpt")
        if not self._training or saved is None or saved == self._judged:
            return
        if saved != self._seen:
            self._seen, self._count = saved, self._count + 1
            judged = info.get(VERDICT, {})
            self._verdict, self._broken = judged.get("verdict"), judged.get("not_finite") or []
        if self._count % self.interval == 0 or last:
            self._judged = saved
            self._deal_with(runner, Path(saved))

    def _deal_with(self, runner: Runner, source: Path) -> None:
        if not source.is_file():
            self._say_once(runner, f"export: {source} is no file on this machine, so none is made")
            return
        why = self._why_held_back(runner)
        if why is None:
            try:
                self._export(runner, source)
                return
            except (CheckpointError, OSError) as error:
                why = str(error)
        stays = (
            f"{PTH} stays that of {_name(self._kept)}" if self._kept else "there is no export yet"
        )
        runner.logger.warning(f"export: {source.name} is held back: {why}; {stays}")

    def _why_held_back(self, runner: Runner) -> str | None:
        """What speaks against the latest checkpoint, in words; None where nothing does."""
        if self._broken:
            return f"{', '.join(self._broken)} became NaN or infinite in its epoch"
        learnt = self._kept.get("verdict") == "learning"
        worse = self._verdict in ("not learning", WORSE) and learnt
        return f"it is {self._verdict}" if self._verdict == "collapsing" or worse else None

    def _facts(self) -> dict[str, Any]:
        """Plain values for the record in the files."""
        return {"verdict": self._verdict}

    def _export(self, runner: Runner, source: Path) -> None:
        checkpoint, folder = read_weights(source), Path(runner.work_dir)
        backbone = getattr(unwrapped(runner.model), "backbone", None)
        like = None if backbone is None else backbone.state_dict()
        main = prepare_file(checkpoint, source, "mmpretrain", like=like, **self._facts())
        further = self._for_others(runner, checkpoint, source, main.record["source_sha256"])
        # backbone.pth last: its record says what is done.
        if further is not None:
            further.write(folder / SAFETENSORS)
        main.write(folder / PTH)
        self._kept = main.record
        files = f"{PTH} and {SAFETENSORS} are" if further else f"{PTH} is"
        runner.logger.info(f"export: {files} now of {_name(self._kept)}", extra=DETAIL)

    def _for_others(
        self, runner: Runner, checkpoint: dict, source: Path, sha256: str
    ) -> BackboneFile | None:
        try:
            require_safetensors()
            return prepare_file(
                checkpoint, source, "safetensors", source_sha256=sha256, **self._facts()
            )
        except CheckpointError as error:
            self._say_once(runner, f"export: {PTH} only, no {SAFETENSORS}: {error}")
            return None

    def _existing(self, runner: Runner) -> dict[str, Any]:
        path = Path(runner.work_dir) / PTH
        if not path.exists():
            return {}
        if runner.iter == 0:
            runner.logger.warning(
                f"export: {path} is of an earlier run; the first checkpoint that is fit replaces it"
            )
            return {}
        try:
            return dict(read_checkpoint(path, mmap=True).get("meta", {}))
        except CheckpointError as error:
            runner.logger.warning(f"export: {error} The next checkpoint that is fit replaces it.")
            return {}

    def _say_once(self, runner: Runner, text: str) -> None:
        if text not in self._said:
            self._said.add(text)
            runner.logger.info(text)


def _name(record: dict[str, Any]) -> str:
    return f"{record.get('source')} ({record.get('verdict', 'no verdict')})"
