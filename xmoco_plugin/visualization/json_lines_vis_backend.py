# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import json
import math
from itertools import takewhile
from pathlib import Path
from typing import Any

from mmengine.registry import VISBACKENDS
from mmengine.visualization import BaseVisBackend
from mmengine.visualization.vis_backend import force_init_env

from ..checkpoint import write_text
from ..json_lines import append_json_line, read_json_lines
from ..untrusted import FileRefusedError


# In the root registry: mmdet and mmseg look there after their own, and never in mmpretrain's.
@VISBACKENDS.register_module()
class JsonLinesVisBackend(BaseVisBackend):
    """All scalars of a run, its resumed parts included, in one file: a JSON object a line.

    The host's ``LocalVisBackend`` begins a file in a new folder each time. As there, a line has a
    ``step``: of a training step the iteration, of a validation the epoch (the iteration, with
    ``LoggerHook(log_metric_by_epoch=False)``). Numbers that are not finite are null.

    Before the first training step is written, the lines that a resumed run does again are dropped;
    of a new run in an old folder these are all. A line that a killed run has left half written goes
    before anything is written.

    Args:
        save_dir: given by the host: ``<work dir>/<time>/vis_data``.
        path: of the file. Default: ``metrics.jsonl`` in the work dir.
    """

    def __init__(self, save_dir: str | None = None, path: str | None = None) -> None:
        super().__init__(save_dir)
        if path is None and save_dir is None:
            raise ValueError("JsonLinesVisBackend needs a path where the host gives no save_dir")
        self._old = 0  # lines of earlier parts of the run that may have to go
        self.path = Path(path) if path else Path(save_dir or "").parents[1] / "metrics.jsonl"

    @property
    def experiment(self) -> "JsonLinesVisBackend":
        """Itself."""
        return self

    def _init_env(self) -> None:
        """Make the folder, and drop a half line."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        if self.path.exists():
            lines = self._read()
            self._old = len(lines)
            self._write(lines)

    def add_scalar(self, name: str, value: Any, step: int = 0, **kwargs) -> None:
        self.add_scalars({name: value}, step)

    @force_init_env
    def add_scalars(
        self, scalar_dict: dict, step: int = 0, file_path: str | None = None, **kwargs
    ) -> None:
        line = {name: _plain(value) for name, value in {"step": step, **scalar_dict}.items()}
        if self._old and "iter" in line:
            self._forget_from(line["iter"])
            self._old = 0
        append_json_line(line, self.path)

    def _forget_from(self, iteration: int) -> None:
        """Cut what earlier parts wrote off before this training step, which is done again."""
        lines = self._read()
        kept = list(takewhile(lambda line: _before(line, iteration), lines[: self._old]))
        if not any("iter" in line for line in kept):
            kept = []  # the validation before a training of which nothing else is left
        self._write(kept + lines[self._old :])

    def _read(self) -> list[dict[str, Any]]:
        try:
            return read_json_lines(self.path)[0]
        except FileRefusedError as error:
            raise FileRefusedError(f"{self.path}: {error}. Remove it to go on.") from None

    def _write(self, lines: list[dict[str, Any]]) -> None:
        text = "".join(json.dumps(line) + "\n" for line in lines)
        write_text(self.path, text)


def _plain(value: Any) -> Any:
    """A number as JSON has it, from a tensor or an array too; null where it is not finite."""
    value = value.tolist() if hasattr(value, "tolist") else value
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _before(line: dict[str, Any], iteration: int) -> bool:
    """Whether a line is of an earlier step; one that names no number is."""
    step = line.get("iter", 0)
    return not isinstance(step, int | float) or step < iteration
