# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the config of a run may name beside registered classes: nothing to write or unpickle."""

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from .gate import LOCAL, WAY_OUT
from .host_readers import RUNS
from .names import printable
from .registered import RUN_KINDS, find_registered
from .settings import SettingsRefusedError

# Backends that keep what they get in the folder of the run.
BACKENDS = {"LocalVisBackend", "JsonLinesVisBackend", "TensorboardVisBackend"}
WRITTEN = re.compile(
    r"(^|_)(out|output|outfile|save|dump|trace|local|log)_(dir|file|path|file_path|prefix)$"
    r"|^json_trace_path$"
)
# In the environment: the bucket that the user of a command has named, for the processes of it.
# Another one is not asked: it would be with the user's credentials.
NAMED_SET = "XMOCO_NAMED_SET"
# Where labelled images lie, which are outside of a run's folder, and the weights it began with.
READ = {"data_root", "ann_file", "data_prefix", "img_path", "data", "files", "load_from"}


def check_run_reads(settings: Mapping[str, Any]) -> None:
    """Makes sure that nothing is unpickled, and nothing fetched from another machine.

    A set of shards may lie in the bucket that the user of the command has named, and no other.

    Raises:
        SettingsRefusedError: Names the first setting at fault.
    """
    sets: set[str] = set()  # of shards, read by us: which server is asked, the environment says
    named = os.environ.get(NAMED_SET)
    for place, value in walk(settings):
        key = place.rpartition(".")[2]
        if isinstance(value, Mapping) and str(value.get("type")).endswith("ShardedImages"):
            sets.add(f"{place}.data_root")
        if key in ("backend_args", "file_client_args", "tracking_uri") and value not in LOCAL:
            raise SettingsRefusedError(f"{place} reads from elsewhere than files")
        if isinstance(value, str):
            if "://" in value and not (place in sets and value == named):
                yours = f" (if it is yours, set {NAMED_SET} to it)" if place in sets else ""
                raise SettingsRefusedError(f"{place}={_short(value)} is on another machine{yours}")
            if value.lower().endswith(RUNS):
                raise SettingsRefusedError(f"{place}={_short(value)}: such a file could run code")
            # Hooks have types under names of their own, which the host looks up alike.
            if key == "ema_type" or (key.endswith("_type") and "." in value):
                found = find_registered(value, RUN_KINDS)
                if found is None or found.reads:
                    raise SettingsRefusedError(f"{place}={_short(value)} is no registered class")


def check_run_paths(settings: Mapping[str, Any], folder: Path) -> None:
    """Makes sure that training writes nowhere but into the folder of the run.

    Raises:
        SettingsRefusedError: Names the first setting at fault.
    """
    check_run_reads(settings)
    for place, value in walk(settings):
        key = place.rpartition(".")[2]
        if key == "vis_backends":
            for backend in value if isinstance(value, list | tuple) else [value]:
                kind = backend.get("type") if isinstance(backend, Mapping) else backend
                if str(kind).rpartition(".")[2] not in BACKENDS:
                    raise SettingsRefusedError(
                        f"{place}: {_short(kind)} could send what it logs elsewhere"
                    )
        if not isinstance(value, str) or _is_inside(value, folder):
            continue
        if WRITTEN.search(key):
            raise SettingsRefusedError(f"{place}={_short(value)} writes outside of {folder}")
        away = value.startswith(("/", "~", "\\")) or ".." in Path(value).parts
        if away and not READ & set(place.split(".")):
            raise SettingsRefusedError(f"{place}={_short(value)} is outside of {folder}")


def reason(error: SettingsRefusedError) -> str:
    """What a setting was refused for, without the gate's way out, which is no folder's."""
    return str(error).replace(f" {WAY_OUT}.", "").rstrip(".")


def walk(value: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """(place, value) of everything in nested settings; a place is 'model.backbone.type'."""
    if place:
        yield place, value
    pairs: Any = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, list | tuple):
        pairs = enumerate(value)
    for key, item in pairs:
        yield from walk(item, f"{place}.{key}" if place else str(key))


def _is_inside(path: str, folder: Path) -> bool:
    """Whether an absolute path lies in the folder, or is it."""
    return os.path.isabs(path) and Path(os.path.normpath(path)).is_relative_to(folder)


def _short(value: object) -> str:
    text = printable(str(value))
    return repr(value) if not isinstance(value, str) else f"'{text[:100]}'"
