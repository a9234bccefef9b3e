# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Logs and scalars that cannot be written are said once, and do not end a training."""

import logging
import sys
from typing import Any

from mmengine.runner import Runner

from xmoco_plugin.checkpoint import not_written
from xmoco_plugin.hooks.spared import Spared

WRITES = ("add_config", "add_graph", "add_image", "add_scalar", "add_scalars", "close")


class SparedBackend:
    """A backend of the visualizer whose writing may fail.

    Args:
        backend: The host's, or ours.
        logger: Of the run, told the first time.
    """

    def __init__(self, backend: Any, logger: logging.Logger) -> None:
        self._backend, self._logger, self._spare = backend, logger, Spared()

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._backend, name)
        return self._spared(found) if name in WRITES else found

    def _spared(self, write: Any) -> Any:
        def spared(*args: Any, **kwargs: Any) -> Any:
            name = getattr(self._backend, "path", None) or type(self._backend).__name__
            with self._spare.writing(name, self._logger.warning):
                return write(*args, **kwargs)

        return spared


class SparedStream:
    """A log's stream whose writing may fail; the host writes to it past the log's handler too."""

    def __init__(self, stream: Any, name: str) -> None:
        self._stream, self._name, self._said = stream, name, False

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return self._spared(self._stream.write, text) or 0

    def flush(self) -> None:
        self._spared(self._stream.flush)

    def close(self) -> None:
        self._spared(self._stream.close)

    def _spared(self, act: Any, *args: Any) -> Any:
        try:
            return act(*args)
        except OSError as error:
            if not self._said:
                self._said = True
                text = f"warning: {not_written(self._name, error)} The run goes on without."
                print(text, file=sys.stderr, flush=True)
        return None


def spare_logs(runner: Runner) -> None:
    """Lets a run go on where its log file, or a backend of its visualizer, cannot be written."""
    backends = runner.visualizer._vis_backends
    for name, backend in backends.items():
        if not isinstance(backend, SparedBackend):
            backends[name] = SparedBackend(backend, runner.logger)
    for handler in runner.logger.handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            handler.stream = SparedStream(handler.stream, handler.baseFilename)  # type: ignore[assignment]
