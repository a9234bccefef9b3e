# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Part of gpu_run.sh: CIFAR-10 by the fast config, an epoch and its kNN after another."""

import statistics
import tempfile
import time
import traceback
from typing import Any

import numpy as np
from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from xmoco_plugin import config_path
from xmoco_plugin._config_scope import unmark_collate

CONFIG = "xmoco_r18_1xb512_cifar10_fast.py"
# Of a full run, as the config has them.
EPOCHS, VALIDATIONS = 200, 20
ACCURACY = "accuracy/top1"


@HOOKS.register_module()
class EpochClockHook(Hook):
    """Writes seconds and kNN of each epoch when they are there; ends the run in time.

    Args:
        part: of gpu_run.sh.
        way: how the rows call this run.
    """

    priority = "LOWEST"

    def __init__(self, part: Any, way: str) -> None:
        self.part, self.way = part, way
        self.epochs: list[float] = []
        self.knn: list[float] = []
        self._began = 0.0

    def before_train_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def after_train_epoch(self, runner: Runner) -> None:
        """Stop it; mmengine has read the last step's losses, so the device is done with it."""
        self.epochs.append(time.perf_counter() - self._began)

    def before_val_epoch(self, runner: Runner) -> None:
        """Start the clock."""
        self._began = time.perf_counter()

    def after_val_epoch(self, runner: Runner, metrics: dict | None = None) -> None:
        """Write the epoch; train no further where the next would not be over in time."""
        self.knn.append(time.perf_counter() - self._began)
        top1 = (metrics or {}).get(ACCURACY)
        row = {"epoch of " + self.way: len(self.epochs), "s": self.epochs[-1]}
        self.part.row(**row, **{"kNN s": self.knn[-1], "kNN top-1 %": top1})
        if self.part.left() < 1.5 * (self.epochs[-1] + self.knn[-1]):
            runner.train_loop.stop_training = True


def config_of(part: Any, folder: str, compiled: bool) -> Config:
    """The fast config with a kNN after every epoch and no checkpoint."""
    cfg = Config.fromfile(config_path(CONFIG))
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.val_cfg.bank_dataloader):
        loader.dataset.data_root = folder if part.data is None else str(part.data)
        unmark_collate(loader)
    cfg.train_cfg.val_interval = 1
    cfg.default_hooks.checkpoint = None
    cfg.update(work_dir=f"{folder}/work_dir", randomness=dict(seed=0))
    cfg.log_level = "WARNING"
    if not compiled:
        cfg.model.compile_encoders = False
    if part.rehearsal:
        _shrink(cfg)
    return cfg


def _shrink(cfg: Config) -> None:
    """For a rehearsal on a CPU: the same config but for sizes, bf16 and the compiler."""
    cfg.model.backbone.update(base_channels=8, stem_channels=8)
    cfg.model.neck.in_channels, cfg.model.queue_len = 64, 64
    optimizer = {k: v for k, v in cfg.optim_wrapper.optimizer.items() if k != "fused"}
    cfg.optim_wrapper = dict(type="OptimWrapper", optimizer=optimizer)
    cfg.train_cfg.max_epochs = 2
    cfg.val_cfg.k = 5
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.val_cfg.bank_dataloader):
        loader.update(batch_size=16, num_workers=0, persistent_workers=False)
        loader.dataset.indices = 32


def _noise(folder: str) -> None:
    """A set for a rehearsal that was given none."""
    draw = np.random.default_rng(0)
    for split in ("train", "test"):
        images = draw.integers(0, 256, (32, 32, 32, 3), dtype=np.uint8)
        np.savez(f"{folder}/{split}.npz", images=images, labels=np.arange(32) % 4)


def cifar(part: Any) -> None:
    """As many epochs as there is time for; without the compiler if it cannot compile."""
    if part.data is None and not part.rehearsal:
        part.note("not run: no CIFAR-10 was given (make gpu-parcel DATA=FOLDER, or --data FOLDER)")
        return
    for compiled in (False,) if part.rehearsal else (True, False):
        way = "the fast config" + ("" if compiled or part.rehearsal else ", without compiling")
        with tempfile.TemporaryDirectory() as folder:
            if part.data is None:
                _noise(folder)
            clock = EpochClockHook(part, way)
            try:
                runner = Runner.from_cfg(config_of(part, folder, compiled))
                runner.register_hook(clock)
                runner.train()
            except Exception as error:
                traceback.print_exc()
                reason = (str(error).splitlines() or [""])[0][:300]
                part.row(**{"run of": way, "failed": f"{type(error).__name__}: {reason}"})
                if clock.epochs or part.left() < 20:
                    return
                continue
            part.row(**{"run of": way} | summary(clock.epochs, clock.knn))
            return


def summary(epochs: list[float], knn: list[float]) -> dict[str, float]:
    """What a full run would take, the first epoch of both left out where there are others.

    Args:
        epochs: seconds of each.
        knn: seconds of each validation.
    """
    epoch, validation = (statistics.median(s[1:] or s) for s in (epochs, knn))
    first = epochs[0] - epoch  # compiling, and what else is done once
    return {
        "epochs": len(epochs),
        "first epoch s": epochs[0],
        "epoch s": epoch,
        "epochs/min": 60 / epoch,
        "kNN s": validation,
        f"{EPOCHS} epochs, extrapolated, min": (first + EPOCHS * epoch + VALIDATIONS * validation)
        / 60,
    }
