# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import contextlib
from collections.abc import Iterator

from mmengine.runner import Runner

from ..checkpoint import NotWrittenError, not_written


class Spared:
    """Lets a hook fail to write what the training does not need: said once, the run goes on."""

    def __init__(self) -> None:
        self._said = False

    @contextlib.contextmanager
    def __call__(self, runner: Runner, name: str) -> Iterator[None]:
        """Within it, the file `name` of the work dir is written.

        Other errors than the system's are faults and go on.
        """
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            if not self._said:
                self._said = True
                told = error if isinstance(error, NotWrittenError) else not_written(name, error)
                runner.logger.warning(f"{told} The run goes on without.")
