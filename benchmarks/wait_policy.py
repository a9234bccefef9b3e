# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What OMP_WAIT_POLICY does to the demo's training step, on the machine as it is and a busier one.

The policy is read when torch is imported, so each has a process of its own; the two step in turns,
round by round, first beside what runs here anyway, then beside --busy processes that only count.
Started on an idle machine, the first part is the idle one: the load that was found is printed.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

POLICY = "OMP_WAIT_POLICY"
POLICIES = ("not set", "PASSIVE")
DEMO = Path(__file__).resolve().parents[1] / "configs/demo/xmoco_r18_1xb128_patches.py"
COUNT = "while True: pass"


def demo_step(batch: int, threads: int) -> Callable[[], None]:
    """A training step of the demo's model on views that are there already."""
    import torch
    from mmengine.config import Config
    from mmengine.registry import init_default_scope
    from mmpretrain.registry import MODELS

    import xmoco_plugin  # noqa: F401

    init_default_scope("mmpretrain")
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    model = MODELS.build(Config.fromfile(DEMO).model).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.06, momentum=0.9)
    views = [torch.randn(batch, 3, 40, 40) for _ in range(2)]

    def step() -> None:
        sum(v for k, v in model.loss(views).items() if "loss" in k).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def work(args: argparse.Namespace) -> None:
    """Answers each line of standard input with [seconds of the clock, of the processor] a step."""
    step = demo_step(args.batch, args.threads)
    step()
    print(json.dumps([0.0, 0.0]), flush=True)
    for _ in sys.stdin:
        clock, processor = time.perf_counter(), time.process_time()
        for _ in range(args.steps):
            step()
        spent = [time.perf_counter() - clock, time.process_time() - processor]
        print(json.dumps([seconds / args.steps for seconds in spent]), flush=True)


def start(policy: str, words: list[str]) -> subprocess.Popen:
    """A process that steps when it is asked, with a policy; it has warmed up."""
    env = {k: v for k, v in os.environ.items() if k not in (POLICY, "OMP_NUM_THREADS")}
    if policy != "not set":
        env[POLICY] = policy
    command = [sys.executable, __file__, "--work", *words]
    process = subprocess.Popen(
        command, env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    if not process.stdout.readline():
        raise RuntimeError(f"the process with {POLICY} {policy} ended with {process.wait()}")
    return process


def ask(process: subprocess.Popen) -> list[float]:
    """[seconds of the clock, of the processor] of a step."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("\n")
    process.stdin.flush()
    return json.loads(process.stdout.readline())


def measure(workers: dict[str, subprocess.Popen], rounds: int, beside: str) -> list[dict]:
    """Rows of a table, from rounds in which each steps once, the first of them by turns."""
    spent: dict[str, list[list[float]]] = {policy: [] for policy in workers}
    names = list(workers)
    load = os.getloadavg()[0]
    for number in range(rounds):
        for policy in names if number % 2 == 0 else names[::-1]:
            spent[policy].append(ask(workers[policy]))
    ratios = [a[0] / b[0] for a, b in zip(spent["not set"], spent["PASSIVE"], strict=True)]
    rows = []
    for policy, seconds in spent.items():
        clocks = [s[0] for s in seconds]
        rows.append(
            {
                "beside": beside,
                "load": round(load, 1),
                POLICY: policy,
                "s a step": statistics.median(clocks),
                "least to greatest": f"{min(clocks):.3g} to {max(clocks):.3g}",
                "processor s": statistics.median(s[1] for s in seconds),
            }
        )
    rows[-1]["times as fast"] = statistics.median(ratios)
    rows[-1]["in each round"] = f"{min(ratios):.3g} to {max(ratios):.3g}"
    return rows


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=4, help="of a round")
    parser.add_argument("--batch", type=int, default=128)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--busy", type=int, default=1, help="processes that count, 0 for none")
    parser.add_argument("--out", type=Path, help="write FILE.json")
    parser.add_argument("--work", action="store_true", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        work(args)
        return
    words = ["--steps", args.steps, "--batch", args.batch, "--threads", args.threads]
    workers = {policy: start(policy, list(map(str, words))) for policy in POLICIES}
    counters: list[subprocess.Popen] = []
    try:
        rows = measure(workers, args.rounds, "what runs here")
        if args.busy:
            counters += [subprocess.Popen([sys.executable, "-c", COUNT]) for _ in range(args.busy)]
            rows += measure(workers, args.rounds, f"and {args.busy} that count")
    finally:
        for process in (*workers.values(), *counters):
            process.kill()
            process.wait()
    facts = dict(cores=os.cpu_count(), threads=args.threads, batch=args.batch, rounds=args.rounds)
    print(json.dumps(facts))
    for row in rows:
        print(
            "  ".join(
                f"{k} {v:.3g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()
            )
        )
    if args.out is not None:
        args.out.parent.mkdir(parents=True, exist_ok=True)
        args.out.with_suffix(".json").write_text(
            json.dumps(dict(facts, rows=rows), indent=1) + "\n"
        )


if __name__ == "__main__":
    main()
