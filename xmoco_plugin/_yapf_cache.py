# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Works round yapf's cache, at which mmengine dies when two processes start together."""

import contextlib
import importlib
import pickle
import shutil
import sys
import time

MODULE = "yapf.yapflib.yapf_api"  # what mmengine imports of it
# What reading a file raises that is half written, or that another process has just removed.
PASSING = (EOFError, pickle.UnpicklingError, OSError)


def import_yapf(tries: int = 20, pause: float = 0.1) -> None:
    """Imports yapf, which mmengine needs, where another process may be writing its cache.

    yapf 0.43.0 pickles its grammar into the user's cache on the first import after an
    installation, and gives the file its final name before the last bytes are written. A process
    that reads it in that moment, as the second rank of a first distributed run does, gets
    "EOFError: Ran out of input"; one killed in that moment leaves a broken file to all that follow.
    mmengine 0.10.7 imports yapf when it is imported itself, onedl-mmengine 0.10.12 at the first
    `Config.pretty_text` or `dump` to a .py file: in the middle of a Runner's start.

    It never raises. What does not pass, a missing module say, is left to the check of the stack
    and to mmengine's own import: not every host needs yapf to be imported.

    Args:
        tries: Imports tried before the cache is held to be broken for good, and removed.
        pause: Seconds between two of them.
    """
    with contextlib.suppress(Exception):
        for _ in range(tries):
            if _imported():
                return
            time.sleep(pause)
        platformdirs = importlib.import_module("platformdirs")  # yapf asks it for the folder too
        shutil.rmtree(platformdirs.user_cache_dir("YAPF", "Google"), ignore_errors=True)
        _imported()


def _imported() -> bool:
    try:
        importlib.import_module(MODULE)
    except PASSING:
        _forget()
        return False
    return True


def _forget() -> None:
    for name in [n for n in sys.modules if n.partition(".")[0] in {"yapf", "yapf_third_party"}]:
        del sys.modules[name]
