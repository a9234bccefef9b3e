# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a run shows on the console: what concerns its user. Its log file has all of it."""

import contextlib
import logging
import multiprocessing
import os
import sys
from collections.abc import Iterator
from typing import Any, TextIO, cast

from mmengine.runner import Runner
from rich.console import Console
from rich.live import Live
from rich.spinner import Spinner

from xmoco_plugin.cli import shown

STDOUT = "stdout"  # name of the records that hosts have printed


@contextlib.contextmanager
def quiet(verbose: bool = False) -> Iterator["Quiet | None"]:
    """Keeps what nobody asked for off the console, in here; gives None where all is wanted.

    Python's warnings and what the hosts print go the way of log lines: to the file of the runner's
    log, once :func:`runner_class` has made one, and to the console where :func:`shown.is_shown`
    says so. Before there is a file they wait for it; where none follows, warnings are printed.
    """
    if verbose:
        yield None
        return
    state = Quiet()
    warned = logging.getLogger("py.warnings")
    handler = _ToLog(state)
    propagate, stdout = warned.propagate, _Stdout(sys.stdout, state)
    warned.addHandler(handler)
    warned.propagate = False
    # A caller that has captured them, as pytest does, keeps them.
    ours = logging._warnings_showwarning is None  # type: ignore[attr-defined]
    logging.captureWarnings(True)
    try:
        with contextlib.redirect_stdout(cast(TextIO, stdout)):
            yield state
        state.say_what_is_left_out()
    finally:
        stdout.end_line()
        warned.removeHandler(handler)
        warned.propagate = propagate
        if ours:
            logging.captureWarnings(False)
        state.close()


@contextlib.contextmanager
def waiting(what: str, lines: bool = True) -> Iterator[None]:
    """Shows on standard error that something takes its time: on a terminal as long as it does.

    Args:
        what: It does.
        lines: Whether lines may be printed meanwhile, and one says so without a terminal. Not
            where a log is made, which keeps the stream that it finds.
    """
    shows = Console(stderr=True)
    if os.environ.get("RANK", "0") != "0":
        yield
    elif shows.is_terminal and not shows.is_dumb_terminal:
        spinner = Spinner("dots", f"{what} ...")
        with Live(spinner, console=shows, transient=True, redirect_stdout=lines):
            yield
    else:
        if lines:
            print(f"{what} ...", file=sys.stderr, flush=True)
        yield


def preparing(state: "Quiet | None") -> contextlib.AbstractContextManager[None]:
    """Shows that a run is being built, unless all of the log stands on the console anyway."""
    return contextlib.nullcontext() if state is None else waiting("preparing the run", lines=False)


def runner_class(base: type[Runner], state: "Quiet") -> type[Runner]:
    """A subclass of `base` that shows on the console what concerns its user."""

    class QuietRunner(base):  # type: ignore[valid-type, misc]
        def build_logger(self, *args: Any, **kwargs: Any) -> logging.Logger:
            logger = super().build_logger(*args, **kwargs)
            state.attach(logger)
            return logger

    return QuietRunner


class Quiet:
    """Where records go, and how many warnings have not been shown."""

    def __init__(self) -> None:
        # Shared with the loader's workers, which are forked from this process.
        self._left_out = multiprocessing.Value("q", 0)
        self._logger: logging.Logger | None = None
        self._waiting: list[logging.LogRecord] = []

    def attach(self, logger: logging.Logger) -> None:
        """Lets the console of a runner's log show less, and its file have what waited for it."""
        self.say_what_is_left_out()  # of a run before, in this process
        self._logger = logger
        for handler in logger.handlers:
            if isinstance(handler, logging.StreamHandler) and not _writes_file(handler):
                handler.addFilter(self._filter)
                handler.setFormatter(_Plain())
        waiting, self._waiting = self._waiting, []
        for record in waiting:
            self.handle(record)

    def handle(self, record: logging.LogRecord) -> None:
        """Hands a record to the log, when there is one."""
        if self._logger is None:
            self._waiting.append(record)
        elif any(map(_writes_file, self._logger.handlers)):
            self._logger.handle(record)
        elif record.levelno >= logging.WARNING and shown.is_shown(record):
            # Of several processes the first alone has a file.
            print(record.getMessage(), file=sys.stderr)

    def say_what_is_left_out(self) -> None:
        """Ends a run's output with where the rest of it is."""
        handlers = self._logger.handlers if self._logger else []
        files = [h.baseFilename for h in handlers if isinstance(h, logging.FileHandler)]
        with self._left_out.get_lock():
            count, self._left_out.value = self._left_out.value, 0
        if files and count:
            what = "1 warning" if count == 1 else f"{count} warnings"
            print(f"left out here: {what} of the libraries, in {files[0]}", flush=True)

    def close(self) -> None:
        """Prints the warnings that have met no log: something ended before there was one."""
        for record in self._waiting:
            if record.levelno >= logging.WARNING and not shown.is_dismissed(record.getMessage()):
                print(record.getMessage(), file=sys.stderr)
        self._waiting = []

    def _filter(self, record: logging.LogRecord) -> bool:
        if shown.is_shown(record):
            return True
        if record.levelno >= logging.WARNING:
            with self._left_out.get_lock():
                self._left_out.value += 1
        return False


class _Plain(logging.Formatter):
    """The message alone, with its level where that is a warning or an error."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return f"{record.levelname.lower()}: {text}" if record.levelno > logging.INFO else text


class _ToLog(logging.Handler):
    """Makes a log record of what Python's `warnings` hand to `logging`."""

    def __init__(self, state: Quiet) -> None:
        super().__init__()
        self._state = state

    def emit(self, record: logging.LogRecord) -> None:
        # "file:line: Category: text" and the line of code. The host's log drops records whose
        # message, before its arguments are put in, it has had.
        text = record.getMessage().strip()
        self._state.handle(_record("py.warnings", logging.WARNING, text.split(":", 1)[0], text))


class _Stdout:
    """Stands for standard output; lines that a host prints go to the log."""

    def __init__(self, stream: TextIO, state: Quiet) -> None:
        self._stream, self._state = stream, state
        self._begun, self._file = "", ""  # a line that a host has not ended

    def write(self, text: str) -> int:
        file = sys._getframe(1).f_code.co_filename
        if not shown.is_printed_by_host(file):
            return self._stream.write(text)
        self._file = file
        *lines, self._begun = (self._begun + text).split("\n")
        for line in filter(str.strip, lines):
            level = logging.WARNING if shown.ALARM.search(line) else logging.INFO
            self._state.handle(_record(STDOUT, level, file, line))
        return len(text)

    def end_line(self) -> None:
        """Hands on what no line's end has followed."""
        if self._begun.strip():
            self._state.handle(_record(STDOUT, logging.INFO, self._file, self._begun))
        self._begun = ""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _record(name: str, level: int, file: str, text: str) -> logging.LogRecord:
    return logging.LogRecord(name, level, file, 0, text, None, None)


def _writes_file(handler: Any) -> bool:
    return isinstance(handler, logging.FileHandler)
