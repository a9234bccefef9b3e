# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Each algorithm with and without the two terms: kNN of a small ResNet-18 on CIFAR-10.

The algorithms are those of configs/plug_in and XMoCo, with narrow necks and one optimizer for all;
data, views and kNN are those of configs/xmoco_r18_1xb512_cifar10.py. A run that has its file in
--out is not repeated. --scales multiplies both terms' weights; 0 is the host's own algorithm.
"""

import argparse
import copy
import itertools
import json
import statistics
import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import measure as bench
import mmengine
import mmpretrain
from mmengine.config import Config, ConfigDict
from mmengine.device import get_device
from mmengine.runner import Runner

from xmoco_plugin import config_path
from xmoco_plugin._config_scope import unmark_collate
from xmoco_plugin.checkpoint import sha256_of

# Options that add runs to those that are there, or do not change one. The data may move: what
# counts is their content.
MAY_DIFFER = {"out", "data_root", "seeds", "algorithms", "scales"}
ALGORITHMS = {
    "mocov2": "xmoco_r50_8xb32.py",
    **{
        name: f"plug_in/xmoco_{name}-r50.py"
        for name in ("mocov3", "simclr", "byol", "simsiam", "barlowtwins", "densecl", "swav")
    },
}
# One size of neck, predictor, queue and key encoder's update rate for all; for few short steps.
SIZES = dict(
    hid_channels=256,
    out_channels=64,
    feat_dim=64,
    queue_len=1024,
    num_crops=[2],
    num_prototypes=100,
    momentum=0.05,
    base_momentum=0.05,
)
# Stages halve the image from the first on: 32 pixels end as 2 x 2 places.
BACKBONE = dict(
    type="ResNet_CIFAR",
    depth=18,
    base_channels=16,
    stem_channels=16,
    strides=(2, 2, 2, 2),
    norm_cfg=dict(type="BN"),
)
WIDTH = 128


def model_of(algorithm: str, scale: float) -> ConfigDict:
    """Config of the algorithm's model; scale 0: as the host has it."""
    model = copy.deepcopy(Config.fromfile(config_path(ALGORITHMS[algorithm])).model)
    _resize(model)
    model.backbone = BACKBONE
    model.neck.in_channels = WIDTH
    for term in (model.head.consistency, model.head.uniformity):
        term.loss_weight *= scale
    if scale == 0 and algorithm == "mocov2":
        model.head.update(consistency=None, uniformity=None)
    elif scale == 0:
        model.type, model.head = model.type.removeprefix("Regularized"), model.head.head
    return model


def _resize(part: ConfigDict) -> None:
    part.update({key: value for key, value in SIZES.items() if key in part})
    if "in_channels" in part:
        part.in_channels = SIZES["out_channels"]
    if part.get("type") == "SwAVLoss":
        part.num_prototypes = SIZES["num_prototypes"]
    for value in part.values():
        if isinstance(value, dict):
            _resize(value)


def config_of(algorithm: str, scale: float, seed: int, args: argparse.Namespace) -> Config:
    """Config of `args.epochs` epochs on the first `args.images` images."""
    cfg = Config.fromfile(config_path("xmoco_r18_1xb512_cifar10.py"))
    cfg.model = dict(model_of(algorithm, scale), data_preprocessor=cfg.data_preprocessor)
    for loader, images in (
        (cfg.train_dataloader, args.images),
        (cfg.val_cfg.bank_dataloader, args.bank),
        (cfg.val_dataloader, args.queries),
    ):
        loader.update(batch_size=args.batch, num_workers=args.workers)
        loader.persistent_workers = args.workers > 0
        unmark_collate(loader)
        loader.dataset.update(data_root=args.data_root, indices=images)
    cfg.val_cfg.update(k=20, temperature=0.07)
    cfg.train_cfg = dict(type="EpochBasedTrainLoop", max_epochs=args.epochs, val_interval=10**6)
    cfg.optim_wrapper = dict(optimizer=dict(type="Adam", lr=args.lr, weight_decay=1e-5))
    cfg.param_scheduler = [
        dict(type="CosineAnnealingLR", T_max=args.epochs, convert_to_iter_based=True)
    ]
    cfg.default_hooks.checkpoint = None
    cfg.custom_hooks = []
    cfg.update(randomness=dict(seed=seed), work_dir=str(args.out / "logs"), log_level="WARNING")
    cfg.experiment_name = f"{algorithm}_x{scale:g}_{seed}_{time.monotonic_ns()}"
    return cfg


def measure(cfg: Config, facts: dict) -> dict:
    """Trains; adds kNN top-1 in percent, before and after, and what it took."""
    runner = Runner.from_cfg(cfg)
    runner.model.init_weights()
    facts["before"] = runner.val()["accuracy/top1"]
    facts["raw_pixels"] = runner.val_loop.raw_pixel_accuracy()
    start, cpu = time.perf_counter(), time.process_time()
    runner.train()
    facts["cpu_seconds"] = round(time.process_time() - cpu, 1)
    facts["seconds"] = round(time.perf_counter() - start, 1)
    scalars = {n: runner.message_hub.get_scalar(n) for n in runner.message_hub.log_scalars}
    facts["last"] = {
        n.removeprefix("train/"): s.mean(10) for n, s in scalars.items() if "train/loss" in n
    }
    return facts | dict(after=runner.val_loop.run()["accuracy/top1"])


def table(runs: list[dict]) -> str:
    """Markdown: a row for each algorithm, a column for each scale; mean and std over seeds."""
    scales = sorted({run["scale"] for run in runs})
    lines = [
        "| algorithm | " + " | ".join("without" if s == 0 else f"weights x {s:g}" for s in scales),
        "| --- " * (1 + len(scales)),
    ]
    for algorithm in ALGORITHMS:
        cells = [cell([r["after"] for r in runs if _is(r, algorithm, s)]) for s in scales]
        lines.append(f"| {algorithm} | " + " | ".join(cells))
    for name, key in (("untrained", "before"), ("raw pixels", "raw_pixels")):
        lines.append(f"| {name} | " + " | ".join([cell([r[key] for r in runs])] * len(scales)))
    return "\n".join(line + " |" for line in lines)


def _is(run: dict, algorithm: str, scale: float) -> bool:
    return run["algorithm"] == algorithm and run["scale"] == scale


def cell(values: list[float]) -> str:
    """Mean, standard deviation and number of some values."""
    if not values:
        return "not run"
    spread = f" ± {statistics.stdev(values):.1f}" if len(values) > 1 else ""
    return f"{statistics.mean(values):.1f}{spread} ({len(values)})"


def environment() -> dict:
    """What a result depends on beside the options."""
    hosts = dict(mmengine=mmengine.__version__, mmpretrain=mmpretrain.__version__)
    return bench.environment(get_device()) | hosts


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of short runs on CIFAR-10."""
    parser.add_argument("--data-root", required=True, help="folder of train.npz and test.npz")
    parser.add_argument("--out", type=Path, required=True, help="folder for results")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--images", type=int, default=2560, help="images to train on")
    parser.add_argument("--epochs", type=int, default=2)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--bank", type=int, default=4000, help="labelled images of the kNN")
    parser.add_argument("--queries", type=int, default=2000, help="test images of the kNN")
    parser.add_argument("--workers", type=int, default=0)


def run_missing(
    runs: Mapping[str, Callable[[], dict]], table: Callable, args: argparse.Namespace
) -> None:
    """Runs what has no file in --out yet, then writes results.json and table.md.

    Raises:
        SystemExit: The runs that are there were made with other options or data, which are named,
            or nothing says how they were made.
    """
    folder = args.out / "runs"
    folder.mkdir(parents=True, exist_ok=True)
    kept = args.out / "options.json"
    if any(folder.iterdir()) and not kept.is_file():
        raise SystemExit(f"{folder} holds runs, but {kept} is gone: name another --out.")
    now = {key: str(value) for key, value in vars(args).items() if key not in MAY_DIFFER}
    archives = [Path(args.data_root, f"{split}.npz") for split in ("train", "test")]
    now["data-root"] = ", ".join(f"{file.name} {sha256_of(file)[:8]}" for file in archives)
    old = json.loads(kept.read_text()) if kept.is_file() else now
    unlike = [f"--{k} was {old.get(k)}, now {now[k]}" for k in now if old.get(k) != now[k]]
    if unlike:
        raise SystemExit(
            f"{args.out} holds runs with other options: {'; '.join(unlike)}. Name another --out."
        )
    kept.write_text(json.dumps(now, indent=1))
    for name, run in runs.items():
        file = folder / f"{name}.json"
        if not file.exists():
            result = json.dumps(run())
            file.write_text(result)
            print(result, flush=True)
    results = [json.loads(file.read_text()) for file in sorted(folder.glob("*.json"))]
    options = {key: value for key, value in vars(args).items() if key != "out"}
    facts = dict(environment=environment(), options=options, runs=results)
    (args.out / "results.json").write_text(json.dumps(facts, indent=1))
    (args.out / "table.md").write_text(table(results) + "\n")
    print(table(results))


def main() -> None:
    """Runs what is missing."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--algorithms", nargs="+", choices=ALGORITHMS, default=list(ALGORITHMS))
    parser.add_argument("--scales", type=float, nargs="+", default=[0, 1])
    add_arguments(parser)
    args = parser.parse_args()

    def run(algorithm: str, scale: float, seed: int) -> dict:
        facts = dict(algorithm=algorithm, scale=scale, seed=seed)
        return measure(config_of(algorithm, scale, seed, args), facts)

    # Seed by seed: what is there when it is stopped can be compared.
    every = itertools.product(args.seeds, args.algorithms, args.scales)
    runs = {f"{name}_x{scale:g}_{s}": partial(run, name, scale, s) for s, name, scale in every}
    run_missing(runs, table, args)


if __name__ == "__main__":
    main()
