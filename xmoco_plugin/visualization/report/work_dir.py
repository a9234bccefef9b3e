# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.config import Config

from ...json_lines import read_json_lines
from ...untrusted import FileRefusedError, open_regular, printable, read_json_object, read_text
from ...weights import is_timed
from ..stored_maps import read_maps
from .checkpoints import WEIGHTS
from .found_config import find_config
from .scalars import Points, is_count, is_number, merge_parts

EPOCH_LENGTH = re.compile(r"Epoch\(train\)\s*\[\s*\d+\]\[\s*\d+/(\d{1,9})\]")
CHECKPOINT = re.compile(r"(?:^|_)(epoch|iter)_(\d{1,9})\.pth$")
ENVIRONMENT = re.compile(r"^ {4}(\S[^:]*): (.+)$", re.MULTILINE)
LOG_HEAD = 200_000  # characters: the environment comes first, the first iterations soon after


@dataclass
class WorkDir:
    """The folder of a run, finished, running or crashed, as far as it can be read.

    Attributes:
        path: the folder.
        name: what the report calls the run.
        config: as the run used it, or None.
        config_name: its file's name.
        train: (iteration, value) points by name, over all resumes.
        metrics: (epoch or iteration, value) points of the validations.
        health: entries of ``health.jsonl``, one an epoch.
        weights: entries of ``weights.jsonl``, one a checkpoint, the start first.
        summary: what RunSummaryHook stored, or {}.
        maps: its similarity maps 'before' and 'after' training, and 'labels', or {}.
        checkpoints: files by epoch (or iteration, where training counts those), rising.
        environment: of the run, from its log.
        epoch_length: iterations an epoch; 1 where training is counted in iterations.
        unit: 'epoch' or 'iteration', of every x of the report.
        missing: sentences on what the report cannot show, and why.
    """

    path: Path
    name: str
    config: Config | None = None
    config_name: str = ""
    train: dict[str, Points] = field(default_factory=dict)
    metrics: dict[str, Points] = field(default_factory=dict)
    health: list[dict] = field(default_factory=list)
    weights: list[dict] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    maps: dict[str, np.ndarray] = field(default_factory=dict)
    checkpoints: dict[int, Path] = field(default_factory=dict)
    environment: dict[str, str] = field(default_factory=dict)
    epoch_length: int = 1
    unit: str = "epoch"
    missing: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, folder: str | Path, name: str = "") -> "WorkDir":
        """Read what is there; what is damaged or absent is noted in ``missing``.

        Raises:
            FileNotFoundError: no such folder.
            ValueError: it holds nothing that a training writes.
        """
        path = Path(folder).expanduser()
        if not path.is_dir():
            raise FileNotFoundError(
                f"there is no folder {folder} (looked from {Path.cwd()}): name the work dir of a "
                "training, where its checkpoints are"
            )
        if not os.access(path, os.R_OK | os.X_OK):
            raise ValueError(f"no permission to read {folder}: it is another user's")
        run = cls(path, printable(name or path.resolve().name))
        logs = _newest_logs(path)
        run._read_config(logs)
        run._read_scalars(logs)
        run._read_health()
        run._read_summary()
        run._find_checkpoints(logs[-1] if logs else None)
        run._read_logs(logs)
        if not (run.config or run.train or run.metrics or run.health or run.checkpoints):
            raise ValueError(
                f"{folder} is no work dir of a training: it holds no config, no "
                "*/vis_data/scalars.json, no health.jsonl and no epoch_*.pth"
            )
        return run

    def x(self, iteration: float) -> float:
        """An iteration in the report's unit."""
        return iteration / self.epoch_length

    @property
    def last(self) -> Path | None:
        """The newest checkpoint."""
        return list(self.checkpoints.values())[-1] if self.checkpoints else None

    def _read_config(self, logs: Sequence[Path]) -> None:
        self.config, self.config_name, missing = find_config(self.path, logs)
        self.missing += missing

    def _read_scalars(self, logs: Sequence[Path]) -> None:
        files = [log / "vis_data" / "scalars.json" for log in logs]
        read = [self._read_lines(file, str(file.relative_to(self.path))) for file in files]
        parts, broken = zip(*read, strict=True) if read else ((), ())
        self.train, self.metrics = merge_parts(parts)
        self._guess_epochs([entry for part in parts for entry in part])
        chosen = (self.path / "options.json").is_file()  # by `xmoco pretrain`
        if not self.train:
            writer = (
                "A run of `xmoco pretrain` has them from its tenth iteration on."
                if chosen
                else "mmengine's LocalVisBackend writes that file, after the first "
                "`default_hooks.logger.interval` iterations."
            )
            self.missing.append(
                "Curves of the loss terms: no training values in */vis_data/scalars.json. " + writer
            )
        if not self.metrics:
            giver = "`val_cfg=dict(type='KNNValLoop', ...)` gives one."
            if chosen:
                giver = "`xmoco pretrain --labels FOLDER` gives one, to a new run."
            self.missing.append(f"kNN: no validation was logged. {giver}")
        if sum(broken):
            self.missing.append(f"{sum(broken)} cut-off line(s) of scalars.json were left out.")

    def _guess_epochs(self, entries: list[dict]) -> None:
        """The unit, and an epoch's length as far as the log's interval lets it be seen."""
        places = [
            entry["iter"] / entry["epoch"]
            for entry in entries
            if is_count(entry.get("epoch")) and is_count(entry.get("iter"))
            if entry["epoch"] > 0
        ]
        if places:
            self.epoch_length = max(round(max(places)), 1)
        elif self.train:
            self.unit = "iteration"

    def _read_health(self) -> None:
        entries, broken = self._read_lines(self.path / "health.jsonl", "health.jsonl")
        by_epoch = {e["epoch"]: e for e in entries if is_count(e.get("epoch"))}
        self.health = [by_epoch[epoch] for epoch in sorted(by_epoch)]
        if not self.health:
            self.missing.append(
                "Verdicts, health values and histograms of similarity: there is no health.jsonl "
                "with an epoch in it. HealthHook writes one line an epoch."
            )
        if broken:
            self.missing.append(f"{broken} cut-off line(s) of health.jsonl were left out.")
        odd = len(entries) - sum(is_count(e.get("epoch")) for e in entries)
        if odd:
            self.missing.append(f"{odd} line(s) of health.jsonl without an epoch were left out.")

        # Not of runs without BestExportHook, nor of those begun before there was one.
        entries, _ = self._read_lines(self.path / WEIGHTS, WEIGHTS)
        self.weights = [e for e in entries if is_count(e.get("epoch"))]

    def _read_summary(self) -> None:
        # RunSummaryHook is an extra: where there is nothing, nothing is missing.
        file = self.path / "summary.json"
        if os.path.lexists(file):
            try:
                self.summary = _summary(read_json_object(file))
            except FileRefusedError as error:
                self.missing.append(f"What summary.json recorded: {error}.")
        maps = self.path / "summary_maps.npz"
        if os.path.lexists(maps):
            try:
                self.maps = read_maps(maps)
            except FileRefusedError as error:
                self.missing.append(f"Maps of summary_maps.npz: {error}.")

    def _read_lines(self, file: Path, name: str) -> tuple[list[dict], int]:
        """Lines of JSON and how many are broken; none of a file that is not there."""
        if os.path.lexists(file):
            try:
                return read_json_lines(file)
            except FileRefusedError as error:
                self.missing.append(f"{name}: {error}.")
        return [], 0

    def _find_checkpoints(self, newest: Path | None) -> None:
        began = _began_anew(newest)
        for file in sorted(self.path.glob("*.pth"), key=lambda file: len(file.name), reverse=True):
            match = None if is_timed(file) else CHECKPOINT.search(file.name)
            if match:
                if not file.is_file():
                    self.missing.append(f"{printable(file.name)}: not a regular file.")
                    continue
                if file.stat().st_mtime < began:
                    self.missing.append(
                        f"{file.name}: of an earlier run in this folder, which the newest start "
                        "did not resume."
                    )
                    continue
                # The plain name comes last: where best_*_epoch_N and epoch_N lie there, it stays.
                self.checkpoints[int(match[2])] = file
        self.checkpoints = dict(sorted(self.checkpoints.items()))
        if not self.checkpoints:
            self.missing.append(
                "Similarity maps, nearest neighbours and t-SNE: there is no epoch_*.pth or "
                "iter_*.pth in the work dir (never saved, moved, or deleted)."
            )

    def _read_logs(self, logs: Sequence[Path]) -> None:
        lengths = []
        for log in reversed(logs):
            try:
                with open_regular(log / f"{log.name}.log") as file:
                    head = file.read(LOG_HEAD).decode("utf-8", "replace")
            except (FileRefusedError, OSError):
                continue
            if match := EPOCH_LENGTH.search(head):
                lengths.append(max(int(match[1]), 1))
            if not self.environment:
                system = head.partition("System environment:")[2].partition("-" * 60)[0]
                found = ENVIRONMENT.findall(system)
                # A line that ends in a colon heads a list, which is left out whole.
                self.environment = {k: v[:200] for k, v in found if not v.endswith(":")}
        if self.unit == "epoch" and lengths:
            self.epoch_length = lengths[0]
        if not self.environment:
            self.missing.append("The environment: no log with mmengine's list of it.")


def _newest_logs(path: Path) -> list[Path]:
    """Folders of the run's parts, oldest first: their names are times."""
    return sorted(p.parent for p in path.glob("*/vis_data") if p.is_dir())


def _began_anew(newest: Path | None) -> float:
    """When the run began, in seconds since the epoch, where its newest start resumed nothing.

    0 where that is not sure: the name of the log folder is a time of the machine that trained, and
    copying may change the times of files, so that both have to say the same.
    """
    if newest is None:
        return 0.0
    try:
        if "resumed epoch: " in read_text(newest / f"{newest.name}.log"):
            return 0.0
        named = datetime.strptime(newest.name, "%Y%m%d_%H%M%S").timestamp()
        return min(named, (newest / "vis_data" / "config.py").stat().st_mtime)
    except (OSError, ValueError):  # a FileRefusedError too
        return 0.0


def _summary(stored: dict[str, Any]) -> dict[str, Any]:
    """What the report shows of a summary, where it is what the hook writes."""
    numbers = ("knn_before", "raw_pixels", "largest_class", "seconds")
    kept = {n: stored[n] for n in numbers if is_number(stored.get(n))}
    if isinstance(stored.get("metric"), str):
        kept["metric"] = stored["metric"]
    odd = [n for n in numbers if n in stored and n not in kept and stored[n] is not None]
    if odd or stored.get("seconds", 0) is None:
        raise FileRefusedError(f"{', '.join(odd) or 'seconds'} is no number")
    return kept
