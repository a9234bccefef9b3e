# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""One measurement of shards.py: processes that load a set together, and what each found."""

import contextlib
import importlib
import itertools
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import shards_libraries as libraries
import torch

LIMIT = 75  # seconds of a process


def private(process: int) -> float:
    """MB of a process that it shares with no other."""
    text = Path(f"/proc/{process}/smaps_rollup").read_text()
    return sum(int(x.split()[1]) for x in text.splitlines() if x.startswith("Private_")) / 1024


def child(given: dict[str, Any]) -> None:
    """One process of a measurement; prints what it found as a line of JSON."""
    what, library = given.pop("what"), libraries.LIBRARIES[given.pop("library")]()
    stop, first = given.pop("stop", None), given.pop("first")
    if given["world"] > 1:
        torch.distributed.init_process_group("gloo")
    importlib.import_module(library.module)
    job = libraries.Job(**given)
    found: dict[str, Any] = {"batches": []}
    begin, cpu = time.perf_counter(), sum(os.times()[:4])
    try:
        loader = library.load(job)
        read, since = 0, None
        for names, contents in libraries.batches(loader):
            if what == "rate":
                for content in contents:
                    cv2.imdecode(np.frombuffer(content, np.uint8), cv2.IMREAD_COLOR)
            if since is None:
                found["first"] = time.perf_counter() - begin
                since = 0.0
            read += len(names)
            found["batches"].append(names)
            if what == "memory" and len(found["batches"]) == 20:
                task = Path(f"/proc/{os.getpid()}/task/{os.getpid()}/children")
                children = [int(c) for c in task.read_text().split()]
                mine = [private(c) for c in children if is_worker(c)]
                found["worker_mb"] = max(mine, default=0)
                break
            if stop == len(found["batches"]):
                state = getattr(loader, "state_dict", None) or job.keep.get("state")
                found["state"] = state() if state else None
                break
        found["cpu"] = sum(os.times()[:4]) - cpu
        found["mb"] = private(os.getpid())
    except BaseException as error:  # what a library does is the finding
        found["error"] = f"{type(error).__name__}: {error}"[:700]
    found["seconds"] = time.perf_counter() - begin
    if not first:
        found["names"] = list(itertools.chain(*found.pop("batches")))
    Path(os.environ["FOUND"]).write_text(json.dumps(found, default=int))
    os._exit(0)


def is_worker(process: int) -> bool:
    """Whether a child is a loader's worker: a fork of this process."""
    paths = [Path(f"/proc/{p}/cmdline") for p in (os.getpid(), process)]
    return all(p.exists() for p in paths) and paths[0].read_bytes() == paths[1].read_bytes()


def run(jobs: list[dict[str, Any]], environment: dict[str, str]) -> list[dict[str, Any]]:
    """Processes that work together, each with its job; what each found."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    started, files = [], []
    with tempfile.TemporaryDirectory() as folder:
        for rank, job in enumerate(jobs):
            files.append(Path(folder, str(rank)))
            distributed: dict[str, Any] = dict(RANK=rank, WORLD_SIZE=len(jobs), LOCAL_RANK=rank)
            distributed |= dict(LOCAL_WORLD_SIZE=len(jobs), MASTER_ADDR="127.0.0.1")
            distributed |= dict(MASTER_PORT=port, FOUND=files[-1], OMP_NUM_THREADS=1)
            distributed |= dict(HF_HOME=folder, TMPDIR=folder)
            env = {**os.environ, **environment, **{k: str(v) for k, v in distributed.items()}}
            command = [sys.executable, __file__, json.dumps(job)]
            started.append(
                subprocess.Popen(
                    command,
                    env=env,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    start_new_session=True,
                )
            )
        threads = [threading.Thread(target=p.communicate, daemon=True) for p in started]
        for thread in threads:
            thread.start()
        end = time.monotonic() + LIMIT
        for thread in threads:
            thread.join(max(end - time.monotonic(), 0))
        for process in started:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        missing = {"error": f"nothing after {LIMIT} s", "batches": [], "names": []}
        return [json.loads(f.read_text()) if f.exists() else dict(missing) for f in files]


def together(found: list[dict[str, Any]]) -> list[list[str]]:
    """Batches of all processes, each sorted."""
    parts = [f["batches"] for f in found]
    longest = max(map(len, parts))
    return [sorted(n for p in parts for n in (p[i] if i < len(p) else [])) for i in range(longest)]


if __name__ == "__main__":
    child(json.loads(sys.argv[1]))
