# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from mmengine.dist import is_main_process
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..checkpoint import check_folder, written_aside

POINTER = "last_checkpoint"


class WithAnotherFolder:
    """A Runner whose work dir is another: there the host writes its ``last_checkpoint``."""

    def __init__(self, runner: Runner, folder: str) -> None:
        self.runner, self.work_dir = runner, folder

    def __getattr__(self, name: str) -> Any:
        return getattr(self.runner, name)


class RemovesLater:
    """A file backend that keeps in mind what it is to remove."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.due: list[tuple[Callable[[str], object], str]] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.due.append((self.backend.remove, path))

    def rmtree(self, path: str) -> None:
        self.due.append((self.backend.rmtree, path))


@HOOKS.register_module()
class WholeCheckpointHook(CheckpointHook):
    """The host's hook, with old files removed when the new ones stand, not before.

    The host removes the oldest checkpoint, and the best one, and writes the successor then; a
    machine that goes down between the two leaves a run without. It writes ``last_checkpoint`` in
    place: a full disk leaves it empty. Here a checkpoint is whole before ``last_checkpoint`` names
    it, ``last_checkpoint`` is replaced as a whole, and what is old goes last. For a moment there is
    one checkpoint more than ``max_keep_ckpts``.

    Args:
        kwargs: As of the host's ``CheckpointHook``.

    Raises:
        NotWrittenError: The disk is full, read-only, another user's, or the folder is gone.
    """

    file_backend: Any  # the host sets it in before_train

    @classmethod
    def of(cls, hook: CheckpointHook) -> "WholeCheckpointHook":
        """The same hook, of this class."""
        new = cls.__new__(cls)
        new.__dict__.update(hook.__dict__)
        return new

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        folder = runner.work_dir
        aside: contextlib.AbstractContextManager[str] = contextlib.nullcontext(folder)
        if is_main_process():
            aside = written_aside(folder, POINTER)
        with self._removing_last(), aside as place:
            super()._save_checkpoint_with_step(WithAnotherFolder(runner, place), step, meta)

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        if is_main_process():
            check_folder(Path(runner.work_dir, POINTER))
        with self._removing_last():
            super()._save_best_checkpoint(runner, metrics)

    @contextlib.contextmanager
    def _removing_last(self) -> Iterator[None]:
        """Removes at the end what is removed within, unless it was written anew, or all failed."""
        backend: Any = self.file_backend
        if isinstance(backend, RemovesLater):  # the best checkpoint's, which the last one follows
            yield
            return
        self.file_backend = later = RemovesLater(backend)
        try:
            yield
        finally:
            self.file_backend = backend
        best = getattr(self, "best_ckpt_path_dict", None) or {}
        written = {self.last_ckpt, getattr(self, "best_ckpt_path", None), *best.values()}
        for remove, path in later.due:
            if path not in written:
                with contextlib.suppress(FileNotFoundError):
                    remove(path)
