# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import contextlib
from collections.abc import Callable, Iterator

from mmengine.runner import Runner

from ..checkpoint import NotWrittenError, not_written


class Spared:
    """Lets something fail to write what the training does not need: said once, the run goes on."""

    def __init__(self) -> None:
        self._said = False

    def __call__(self, runner: Runner, name: str) -> contextlib.AbstractContextManager[None]:
        """Within it a hook writes the file `name` of the work dir."""
        return self.writing(name, runner.logger.warning)

    @contextlib.contextmanager
    def writing(self, name: str, say: Callable[[str], object]) -> Iterator[None]:
        """Within it a file is written.

        Other errors than the system's are faults and go on.

        Args:
            name: Of the file, where the error does not tell.
            say: Called the first time.
        """
        try:
            yield
        except OSError as error:
            if error.errno is None:
                raise
            if not self._said:
                self._said = True
                known = isinstance(error, NotWrittenError)
                told = error if known else not_written(error.filename or name, error)
                say(f"{told} The run goes on without.")
