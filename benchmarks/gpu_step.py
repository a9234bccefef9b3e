# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Parts of gpu_run.sh: the training step on views that are there, and from JPEGs."""

import argparse
import warnings
from collections.abc import Callable
from typing import Any

import measure
import step as step_benchmark
import torch
from step_models import models, step_of, switches, wrapper_of
from torch.utils.flop_counter import FlopCounterMode

# Dense bf16, of the manufacturer's data sheets, by what the device's name begins with.
PEAK_TFLOPS = {
    "NVIDIA H200": 989,
    "NVIDIA H100 80GB HBM3": 989,
    "NVIDIA A100": 312,
    "NVIDIA L40S": 362,
}
# Seconds that must be left for a way to begin: where it may compile, and where a cache has that.
COMPILING, PLAIN = 25, 6


def peak_flops() -> float | None:
    """Operations a second of this device's tensor cores in bf16; None where it is not known."""
    name = torch.cuda.get_device_name() if torch.cuda.is_available() else ""
    found = [peak for start, peak in PEAK_TFLOPS.items() if name.startswith(start)]
    return found[0] * 1e12 if found else None


def flops_of_image(sizes: argparse.Namespace, device: str) -> float:
    """Operations of one image in a step, forwards and backwards, key encoder included."""
    build, wrapper_cfg = models(sizes, False)["ours"]
    two = argparse.Namespace(**{**vars(sizes), "batch": 2})
    step = step_benchmark.prepared(build, wrapper_cfg, two, device)
    with FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops() / 2


def ways(sizes: argparse.Namespace, cuda: bool) -> dict[str, tuple[Callable, dict]]:
    """Those that are compared; what compiles comes last."""
    known = models(sizes, cuda)
    names = ("mmpretrain", "mmpretrain AMP", "ours, no terms", "ours")
    return {n: known[n] for n in names if n in known} | switches(sizes, cuda)


def step(part: Any) -> None:
    """Each way alone: median of steps, each waited for, as mmengine waits for its losses."""
    warnings.filterwarnings("ignore", category=UserWarning)  # the hosts' own
    torch.backends.cudnn.benchmark = True  # as the fast config has it; the same for all
    sizes, device, cuda = part.sizes, part.device, part.device == "cuda"
    work, peak = flops_of_image(sizes, device), peak_flops()
    part.note(f"{work / 1e9:.1f} GFLOP an image; batches of {sizes.batch}, {sizes.size} px")
    choices = ways(sizes, cuda)
    for name in part.within(COMPILING, list(choices)):
        with part.attempt(model=name, batch=sizes.batch) as row:
            row.update(timed(*choices[name], sizes, device))
            if peak:
                row["of the bf16 peak %"] = 100 * row["images/s"] * work / peak


def timed(
    build: Callable, wrapper_cfg: dict, sizes: argparse.Namespace, device: str
) -> dict[str, float | str]:
    """Milliseconds, images a second and the memory of a step, its model's included."""
    if device == "cuda":
        torch.compiler.reset()  # nothing of the last way's counts
        torch.cuda.reset_peak_memory_stats()
    step = step_benchmark.prepared(build, wrapper_cfg, sizes, device)
    for _ in range(3):  # a CUDA graph warms up, is recorded, is replayed
        step()
    seconds = measure.alternate({"": step}, sizes.repeats, device)[""]
    row: dict[str, float | str] = {
        "ms": 1e3 * seconds,
        "its rounds": measure.spread([1e3 * s for s in seconds.rounds]),
        "images/s": sizes.batch / seconds,
    }
    if device == "cuda":
        row["GB"] = torch.cuda.max_memory_allocated() / 1e9
    return row


def jpegs(part: Any) -> None:
    """From JPEGs to updated weights, by every data path; a model is built once."""
    warnings.filterwarnings("ignore", category=UserWarning)
    torch.backends.cudnn.benchmark = True
    cuda = part.device == "cuda"
    known = models(part.sizes, cuda)
    steps: dict[str, Callable] = {}
    there = [w for w, (name, _) in step_benchmark.WAYS.items() if name in known]
    for way in part.within(PLAIN, there):
        name, config = step_benchmark.WAYS[way]
        with part.attempt(way=way, workers=part.sizes.workers) as row:
            if name not in steps:
                build, wrapper_cfg = known[name]
                model = build().to(part.device).train()
                steps[name] = step_of(model, wrapper_of(model, wrapper_cfg))
            row.update(step_benchmark.from_jpegs(way, config, steps[name], part.sizes, part.device))
