# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which errors are the user's to mend, and what they are told."""

import errno
import re
import traceback
from pathlib import Path

import torch

import xmoco_plugin
from xmoco_plugin.checkpoint import not_written
from xmoco_plugin.untrusted import printable

OUR_FOLDER = str(Path(xmoco_plugin.__file__).parent)
# What no program can mend.
DISK = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
MISSPELT = re.compile(r"(\w+)\.__init__\(\) got an unexpected keyword argument '(\w+)'")

# torch's words for a process of a DataLoader that is no more.
WORKER = re.compile(
    r"DataLoader worker \(pid\(?s?\)? ?([\d, ]+)\) "
    r"(?:exited unexpectedly|is killed by signal: (\w.*?)\.)"
)

FETCH = str(Path("torch", "multiprocessing", "reductions.py"))  # a batch's way from there

# gloo's and NCCL's words where the other side is no more, or does not answer.
PEER = re.compile(
    r"gloo/transport|Connection (?:closed|reset|refused)|ncclRemoteError"
    r"|NCCL.*(?:timed? ?out|abort)|[Ww]atchdog.*timeout|Broken pipe|Socket [Tt]imeout"
)
LOST_ANOTHER = (
    "another process of this training has ended, or is out of reach: what it said stands above, or "
    "on its machine. "
)
GO_ON = "The same command with --resume goes on from the last checkpoint."
GOES_ON = "torchrun starts this one again."
RESUMES = " (torchrun goes on by itself where a machine has come or gone)"


def lost_another(error: BaseException) -> bool:
    """Whether an error says no more than that another process is gone."""
    group = torch.distributed.is_available() and torch.distributed.is_initialized()
    return group and isinstance(error, RuntimeError) and bool(PEER.search(str(error)))


def lost_worker(found: re.Match[str] | None, text: str) -> str:
    """What is said of a process that loaded images and was killed.

    Args:
        found: In torch's error; None where that names no process.
        text: Of the error.
    """
    who, signal = (f" ({found[1].strip(', ')})", found[2]) if found else ("", None)
    if signal == "Terminated":
        return f"a process that loads images{who} was told to end (SIGTERM)."
    how = f"was killed ({signal})" if signal else "ended, or was killed"
    if "shared memory" in text or signal == "Bus error":
        why = (
            "/dev/shm, through which batches come, is full: give a container more (docker run "
            "--shm-size=8g), or load in this process: --workers 0 of pretrain, --cfg-options "
            "train_dataloader.num_workers=0 of train"
        )
    else:
        why = (
            "where memory ran out the system does so (`dmesg` tells): fewer --workers or a smaller "
            "--batch-size of pretrain, --cfg-options train_dataloader.num_workers=1 of train"
        )
    return f"a process that loads images{who} {how}. Most often {why}."


def user_message(error: BaseException | None) -> str | None:
    """Returns the message meant for the user, or None if this is a fault to be traced.

    Ours are the error classes of this package, and every ValueError and FileNotFoundError that
    our code raises, also where the host's registry wraps it in one of its own; and a setting that
    the registry hands to a class that has none of that name.
    """
    while error is not None:
        frames = traceback.extract_tb(error.__traceback__)
        misspelt = MISSPELT.search(str(error)) if isinstance(error, TypeError) else None
        if misspelt and any(Path(f.filename).name == "build_functions.py" for f in frames):
            return (
                f"{misspelt[1]} has no setting {misspelt[2]!r}. Look for it in the config and in "
                "--cfg-options: it may be misspelt, or inherited where a dict that names another "
                "type lacks _delete_=True."
            )
        ours = bool(frames) and frames[-1].filename.startswith(OUR_FOLDER)
        if type(error).__module__.startswith("xmoco_plugin") or (
            ours and isinstance(error, (ValueError, FileNotFoundError))
        ):
            return str(error)
        if isinstance(error, RuntimeError) and (lost := WORKER.search(str(error))):
            return lost_worker(lost, str(error))
        # It ended while a batch of it was fetched, which torch tells from a fault only afterwards.
        fetched = any(f.filename.endswith(FETCH) for f in frames)
        if fetched and isinstance(error, EOFError | ConnectionError):
            return lost_worker(None, "")
        if isinstance(error, PermissionError) and error.filename is not None:
            place = printable(str(error.filename))
            return f"{place}: no permission. It is another user's: name another place."
        if isinstance(error, OSError) and error.errno in DISK:
            return str(not_written(error.filename, error))
        # As a traceback shows it: `from None` says that what was before does not matter.
        before = None if error.__suppress_context__ else error.__context__
        error = error.__cause__ or before
    return None
