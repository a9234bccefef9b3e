# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Each backbone's way: pretrained, exported, arrived in a detector or segmentor, fine-tuned.

    python benchmarks/backbones.py --det COCO_FOLDER --seg MMSEG_FOLDER --out OUT

A row is a ready fine-tuning config and the --model that goes with it, which its header names. The
last columns are the largest differences of features of one input between the pretraining and the
host, from the run's file and from the exported one, as shares of the largest feature of their
level: over every level that the detector or segmentor uses, and the output that is trained on. The
runs show that each way can be walked, and nothing of what a pretraining is worth. Of rows that are
in OUT the features alone are compared again.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from measure import environment
from mmengine.config import Config, ConfigDict
from mmengine.logging import MMLogger
from mmengine.registry import DefaultScope
from torch import nn

import xmoco_plugin  # noqa: F401  registers
from xmoco_plugin.checkpoint import write_text
from xmoco_plugin.cli import starts

CONFIGS = Path(__file__).resolve().parents[1] / "configs"
TASKS = {"detection": "det", "segmentation": "seg"}
IMAGES = {"det": "train", "seg": "img_dir/train"}
NAMED = re.compile(r"^# .*xmoco pretrain .*--model (\S+)", re.MULTILINE)
ARRIVED = re.compile(r"All (\d+) backbone weights")
# The host's backbone, and the pretraining's, as they give the same levels: strides of a
# pretraining, maps in place of a class token or a pooled vector.
HOST_LEVELS: dict[str, dict[str, Any]] = {
    "MobileNetV2": dict(dilations=(1,) * 7, strides=(1, 2, 2, 2, 1, 2, 1)),
}
OWN_LEVELS: dict[str, dict[str, Any]] = {
    "MoCoV3ViT": dict(out_type="featmap"),
    "ConvNeXt": dict(gap_before_final_norm=False),
}
# The host's, as it gives what is trained on; None where it has no such layer.
HOST_TRAINED: dict[str, dict[str, Any] | None] = {
    "MobileNetV2": None,  # mmseg's lacks the last convolution
    "mmpretrain.VisionTransformer": dict(out_type="cls_token", out_indices=-1),
    "VisionTransformer": dict(output_cls_token=True, out_indices=-1),
    "mmpretrain.ConvNeXt": dict(gap_before_final_norm=True),
}
MOST = 1e-5  # of the largest feature, by which levels may differ


def ready_configs() -> dict[str, str]:
    """The fine-tuning configs whose header names a --model, and that."""
    found = {}
    for task in TASKS:
        for file in sorted((CONFIGS / task).glob("*.py")):
            if model := NAMED.search(file.read_text(encoding="utf-8")):
                found[f"{task}/{file.name}"] = model[1]
    return found


def built(settings: Mapping[str, Any], scope: str) -> nn.Module:
    """A backbone by its settings, in evaluation mode."""
    registry = __import__(f"{scope}.registry", fromlist=["MODELS"]).MODELS
    __import__(f"{scope}.models")
    log = MMLogger.get_current_instance()
    level = log.level
    log.setLevel("WARNING")  # or each weight that is loaded is a line
    with DefaultScope.overwrite_default_scope(scope):
        model = registry.build(ConfigDict(settings))
    model.init_weights()
    log.setLevel(level)
    model.eval()  # which returns None in many of them
    return model


@torch.no_grad()
def levels(model: nn.Module, images: torch.Tensor) -> list[torch.Tensor]:
    """A backbone's outputs, the last one last; of a map with a class token beside it, the token."""
    out: Any = model(images)
    parts = list(out) if isinstance(out, tuple | list) else [out]
    return [part[-1] if isinstance(part, tuple | list) else part for part in parts]


def brought(config: str, weights: Path, folder: Path) -> Config:
    """A fine-tuning's config with the start that a command of ours gives it.

    Args:
        config: Of the fine-tuning, below configs/.
        weights: That its backbone starts from.
        folder: For what has to be brought into the host's names.
    """
    cfg = Config.fromfile(str(CONFIGS / config))
    cfg.pretrained = cfg.model.backbone.init_cfg.checkpoint = str(weights)
    starts.bring(cfg, folder)
    return cfg


def compared(cfg: Config, ours: Mapping[str, Any], own: Path, size: int) -> dict[str, float]:
    """The features of a pretraining's backbone and of a host's, of the same input.

    Args:
        cfg: Of the fine-tuning, as from :func:`brought`.
        ours: Config of the pretraining's backbone.
        own: Its weights.
        size: Side of the input, in pixels.

    Returns:
        For each level that the fine-tuning uses, and what is trained on ('trained'), their largest
        difference as a share of the level's largest feature.

    Raises:
        SystemExit: Shapes differ, a level is constant, or one differs by more than ``MOST``.
    """
    host = cfg.model.backbone.to_dict()
    kind, scope = host["type"], str(cfg.default_scope)
    settings = {
        **ours,
        "init_cfg": dict(type="Pretrained", checkpoint=str(own), prefix="backbone."),
    }
    images = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(0))
    theirs = built(host | HOST_LEVELS.get(kind, {}), scope)
    used = theirs.out_indices
    same = dict(out_indices=used) | OWN_LEVELS.get(settings["type"], {})
    pairs = dict(
        zip(
            map(str, used),
            zip(
                levels(built(settings | same, "mmpretrain"), images),
                levels(theirs, images),
                strict=True,
            ),
            strict=True,
        )
    )
    if (change := HOST_TRAINED.get(kind, {})) is not None:
        last = built(host | change, scope), built(settings, "mmpretrain")
        found, expected = (levels(model, images)[-1] for model in last)
        pairs["trained"] = expected, found
    shares = {}
    for name, (expected, found) in pairs.items():
        if expected.shape != found.shape or expected.std() < 1e-4 * expected.abs().max():
            raise SystemExit(f"{kind}, {name}: {(*found.shape,)} beside {(*expected.shape,)}")
        shares[name] = float((found - expected).abs().max() / expected.abs().max())
    if max(shares.values()) > MOST:
        raise SystemExit(f"{kind}: its levels differ from the pretraining's: {shares}")
    return shares


def walk(config: str, model: str, args: argparse.Namespace) -> dict[str, Any]:
    """Walks one row; each step is a command of its own, which must succeed."""
    task = TASKS[config.split("/")[0]]
    data = vars(args)[task]
    run = args.out / re.sub(r"\W", "_", model)
    began = time.time()
    if not (run / "backbone.pth").is_file():
        shutil.rmtree(run, ignore_errors=True)
        words = ["--image-size", args.image_size, "--epochs", args.epochs, "--workers", 0]
        words += ["--batch-size", args.batch_size, "--seed", 0]
        command("pretrain", "--data", data / IMAGES[task], "--out", run, "--model", model, *words)
    exported = args.out / f"{run.name}_exported.pth"
    command("export", run / "backbone.pth", exported, "--to", "mmpretrain", "--force")
    work = args.out / Path(config).stem
    options = [f"{stage}_dataloader.num_workers=0" for stage in ("train", "val", "test")]
    options += [
        f"{stage}_dataloader.persistent_workers=False" for stage in ("train", "val", "test")
    ]
    said = command(
        *("transfer", run / "backbone.pth", task, CONFIGS / config, "--data-root", data),
        *("--max-iters", args.iters, "--work-dir", work, "--cfg-options"),
        *smaller(task, args.side),
    )
    metrics = json.loads((work / "seed_0" / "metrics.json").read_text())
    return dict(
        config=config,
        model=model,
        arrived=int(ARRIVED.findall(said)[0]),
        metrics=metrics,
        seconds=round(time.time() - began),
    )


def look(config: str, model: str, args: argparse.Namespace) -> list[dict[str, float]]:
    """Compares the features of a walked row: from the run's file, and from the exported one."""
    run = args.out / re.sub(r"\W", "_", model)
    settings = Config.fromfile(str(run / "config.py")).model.backbone.to_dict()
    size = max(args.image_size, 256)  # larger than a window of the last stage
    folder = args.out / Path(config).stem / "brought"
    own = run / "backbone.pth"
    files = own, args.out / f"{run.name}_exported.pth"
    return [compared(brought(config, file, folder), settings, file, size) for file in files]


def smaller(task: str, side: int) -> list[str]:
    """Options for images of at most so many pixels a side, loaded by the process itself."""
    pair, judged = f"({side},{side})", ("val", "test")
    options = [f"train_dataloader.dataset.pipeline.2.scale={pair}"]
    options += [f"{stage}_dataloader.dataset.pipeline.1.scale={pair}" for stage in judged]
    for stage in ("train", *judged):
        loading = dict(num_workers=0, persistent_workers=False)
        options += [f"{stage}_dataloader.{key}={value}" for key, value in loading.items()]
    if task == "seg":
        options.append(f"train_dataloader.dataset.pipeline.3.crop_size={pair}")
        options.append(f"model.data_preprocessor.size={pair}")
    return options


def command(*words: object) -> str:
    """Runs a command of xmoco; returns what it printed.

    Raises:
        SystemExit: It failed.
    """
    line = [sys.executable, "-m", "xmoco", *map(str, words)]
    paths = os.pathsep.join([str(CONFIGS.parent), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        line, capture_output=True, text=True, env={**os.environ, "PYTHONPATH": paths}
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(line)}\n{(done.stdout + done.stderr)[-4000:]}")
    return done.stdout + done.stderr


def table(rows: list[dict[str, Any]]) -> str:
    """The rows in Markdown."""
    head = ["model", "fine-tuning config", "weights arrived", "fine-tuned, tested"]
    head += ["levels", "difference, run", "difference, export"]
    lines = [f"| {' | '.join(head)} |", f"|{' --- |' * len(head)}"]
    for row in rows:
        figures = {key.split("/")[-1]: value for key, value in row["metrics"].items()}
        shown = next(
            (f"{k} {figures[k]:g}" for k in ("bbox_mAP", "mIoU") if k in figures), "no box"
        )
        cells = [f"`{row['model']}`", f"`{row['config'][:-3]}`", str(row["arrived"]), shown]
        used = [name for name in row["differences"][0] if name != "trained"]
        cells += [", ".join(used), *(f"{max(d.values()):.1e}" for d in row["differences"])]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Walks, and writes table.md."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--det", type=Path, help="data in COCO format")
    parser.add_argument("--seg", type=Path, help="data in mmseg's layout")
    parser.add_argument("--out", type=Path, required=True, help="folder of the runs and the table")
    parser.add_argument("--only", nargs="*", default=[], help="parts of configs' names")
    parser.add_argument("--image-size", type=int, default=64, help="side of the views, px")
    parser.add_argument("--epochs", type=int, default=1, help="of the pretraining")
    parser.add_argument("--batch-size", type=int, default=16, help="of the pretraining")
    parser.add_argument("--iters", type=int, default=4, help="of the fine-tuning")
    parser.add_argument("--side", type=int, default=256, help="of the fine-tuning's images, px")
    args = parser.parse_args()
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for config, model in ready_configs().items():
        given = vars(args)[TASKS[config.split("/")[0]]]
        if given is None or (args.only and not any(part in config for part in args.only)):
            continue
        file = args.out / f"{Path(config).stem}.json"
        if not file.is_file():
            write_text(file, json.dumps(walk(config, model, args), indent=1))
        rows.append(json.loads(file.read_text()) | dict(differences=look(config, model, args)))
        write_text(file, json.dumps(rows[-1], indent=1))
        print(table(rows).splitlines()[-1], f"{rows[-1]['seconds']} s", flush=True)
    facts = ", ".join(f"{key} {value}" for key, value in environment().items())
    write_text(args.out / "table.md", f"{facts}\n\n{table(rows)}\n")


if __name__ == "__main__":
    main()
