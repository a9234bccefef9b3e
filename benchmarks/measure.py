# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the benchmarks share: fair timing, peak memory, the environment, a table and its JSON."""

import argparse
import importlib.util
import itertools
import json
import multiprocessing
import os
import platform
import resource
import statistics
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

import torch

Name = TypeVar("Name")
# What must be alike for two files to be compared.
MACHINE = ("processor", "cores", "device", "threads")


def add_arguments(parser: argparse.ArgumentParser, repeats: int = 5) -> None:
    """Adds the options that the benchmarks have in common."""
    parser.add_argument("--repeats", type=int, default=repeats, help="timed rounds")
    parser.add_argument("--threads", type=int, default=1, help="threads of torch and OpenCV")
    parser.add_argument("--out", type=Path, help="write FILE.json and FILE.md")
    parser.add_argument(
        "--against", type=Path, metavar="JSON", help="also show an earlier run of this machine"
    )


def installed(name: str) -> bool:
    """Whether a peer is there."""
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:  # of a.b, where there is no a
        return False


def environment(device: str = "cpu") -> dict:
    """Machine, versions and commit of this run."""
    here = Path(__file__).parent
    git = subprocess.run(
        ["git", "describe", "--always", "--dirty"], cwd=here, capture_output=True, text=True
    )
    names = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":")[1].strip() for line in names.splitlines() if "model name" in line]
    return dict(
        processor=models[0] if models else platform.processor(),
        cores=os.cpu_count(),
        device=torch.cuda.get_device_name(device) if device.startswith("cuda") else "cpu",
        threads=torch.get_num_threads(),
        load=round(os.getloadavg()[0], 1),
        python=platform.python_version(),
        torch=torch.__version__,
        commit=git.stdout.strip() or "unknown",
        date=time.strftime("%Y-%m-%d"),
    )


class Seconds(float):
    """Median of the timed rounds of one function."""

    rounds: tuple[float, ...]

    def __new__(cls, rounds: Sequence[float]) -> "Seconds":
        median = super().__new__(cls, statistics.median(rounds))
        median.rounds = tuple(rounds)
        return median


def spread(values: Sequence[float]) -> str:
    """'Least to greatest'."""
    return f"{min(values):.3g} to {max(values):.3g}"


def ratio(own: Seconds, other: Seconds) -> tuple[float, str]:
    """Median of own / other over the rounds that both shared, and "least to greatest"."""
    ratios = [a / b for a, b in zip(own.rounds, other.rounds, strict=True)]
    return statistics.median(ratios), spread(ratios)


def alternate(
    functions: Mapping[Name, Callable[[], object]], repeats: int, device: str = "cpu"
) -> dict[Name, Seconds]:
    """Seconds of each function, called in turns so that they share the machine's moods.

    On the CPU with one thread these are seconds of the processor, which others cannot lengthen by
    taking turns on it; else they are seconds of the clock.
    """
    alone = device == "cpu" and torch.get_num_threads() == 1
    clock = time.process_time if alone else time.perf_counter
    seconds: dict[Name, list[float]] = {name: [] for name in functions}
    for round_ in range(repeats + 1):
        for name, function in functions.items():
            start = clock()
            function()
            if device == "cuda":
                torch.cuda.synchronize()
            if round_:  # the first warms up
                seconds[name].append(clock() - start)
    return {name: Seconds(rounds) for name, rounds in seconds.items()}


def peak_memory(prepare: Callable[[], Callable[[], object]], device: str = "cpu") -> int:
    """Bytes that a function needs at most beyond its inputs.

    On the CPU the high-water mark of a forked process; Linux resets it, elsewhere a function that
    needs less than its preparation reads 0.

    Args:
        prepare: makes the inputs and returns the function.
    """
    if device == "cuda":
        function = prepare()
        torch.cuda.synchronize()
        torch.cuda.reset_peak_memory_stats()
        before = torch.cuda.memory_allocated()
        function()
        torch.cuda.synchronize()
        return torch.cuda.max_memory_allocated() - before
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_measure_peak, args=(prepare, sender))
    process.start()
    sender.close()
    peak = receiver.recv()
    process.join()
    return peak


def _measure_peak(prepare: Callable, sender) -> None:
    function = prepare()
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    before = _high_water()
    function()
    sender.send(_high_water() - before)


def _high_water() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        line = next(x for x in status.read_text().splitlines() if x.startswith("VmHWM"))
        return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def report(
    title: str,
    rows: list[dict],
    facts: dict,
    args: argparse.Namespace,
    notes: Sequence[str] = (),
) -> None:
    """Prints the table and what has to be known of it, and writes both where --out says.

    Raises:
        ValueError: --against names a run of another machine or of other settings of it.
    """
    text = f"# {title}\n\n" + ", ".join(f"{k} {v}" for k, v in facts.items())
    text += "\n\n" + table(rows)
    text += "".join(f"\n- {note}" for note in notes) + "\n" * bool(notes)
    if args.against is not None:
        earlier = json.loads(args.against.read_text())
        other = [k for k in MACHINE if earlier["environment"][k] != facts[k]]
        if other:
            raise ValueError(
                f"{args.against} is not comparable, it was measured with other "
                + ", ".join(f"{k} ({earlier['environment'][k]}, now {facts[k]})" for k in other)
            )
        text += f"\nEarlier, commit {earlier['environment']['commit']}:\n\n"
        text += table(earlier["rows"])
    print(text)
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        record = dict(title=title, environment=facts, rows=rows)
        args.out.with_suffix(".json").write_text(json.dumps(record, indent=1) + "\n")
        args.out.with_suffix(".md").write_text(text)


def table(rows: list[dict]) -> str:
    """Rows as markdown, a table for each run of rows with the same first column; '-' for a gap."""
    kinds = itertools.groupby(rows, key=lambda row: next(iter(row)))
    return "\n".join(_table(list(kind)) for _, kind in kinds)


def _table(rows: list[dict]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        cells = [row.get(c, "-") for c in columns]
        text = [
            f"{c:,.3g}"
            if isinstance(c, float) and abs(c) < 100
            else f"{c:,.0f}"
            if isinstance(c, int | float)
            else str(c)
            for c in cells
        ]
        lines.append("| " + " | ".join(text) + " |")
    return "\n".join(lines) + "\n"
