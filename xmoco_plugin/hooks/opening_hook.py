# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from pathlib import Path

from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmpretrain.registry import HOOKS

from ..log_detail import DETAIL
from ..untrusted import FileRefusedError, printable, read_text

LIMIT = 1 << 20  # bytes (ours)


@HOOKS.register_module()
class OpeningHook(Hook):
    """Opens the log of a run with the content of a text file: its data, choices, versions.

    A file that cannot be read is a warning and no reason to stop.

    Args:
        path: of the file, in UTF-8; ``~`` is expanded.
    """

    priority = "VERY_HIGH"

    def __init__(self, path: str) -> None:
        self.path = Path(path).expanduser()
        self._done = False

    def before_run(self, runner: Runner) -> None:
        if self._done:  # a test may follow the training
            return
        self._done = True
        try:
            text = read_text(self.path, LIMIT)
        except FileRefusedError as error:
            runner.logger.warning(f"The log cannot be opened with {self.path}: {error}")
            return
        lines = "\n".join(map(printable, text.rstrip().split("\n")))
        runner.logger.info(f"\n{lines}", extra=DETAIL)
