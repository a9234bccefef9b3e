# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Runs the test loop of a config on a checkpoint, or its validation loop where it has no other."""

import argparse
import sys

import common
import mmengine
from mmengine.config import Config
from mmengine.device import get_device

from xmoco_plugin.downstream import prepare


def parse_args() -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("config", help="config file")
    parser.add_argument("checkpoint", help="checkpoint file")
    parser.add_argument("--out", help="file for the metrics (.json, .yaml or .pkl)")
    common.add_common_arguments(parser)
    return parser.parse_args()


def merge(cfg: Config, args: argparse.Namespace) -> None:
    """Writes the command line into `cfg`.

    Raises:
        ValueError: The config has neither a test nor a validation loop, or --amp without a device.
    """
    stage = next((s for s in ("test", "val") if cfg.get(f"{s}_dataloader")), None)
    if stage is None:
        raise ValueError(
            f"{args.config} has neither test_dataloader nor val_dataloader: there is nothing to "
            "test on. Add one, with its cfg and evaluator."
        )
    if args.amp:
        if get_device() == "cpu":
            raise ValueError("--amp needs an accelerator and this machine has none: leave it out.")
        cfg[f"{stage}_cfg"].fp16 = True
    cfg.load_from = args.checkpoint
    cfg.resume = False
    # Only the loop that runs is built, and only its data must be there.
    for other in {"train", "val", "test"} - {stage}:
        for part in ("cfg", "dataloader", "evaluator"):
            cfg[f"{other}_{part}"] = None
    cfg.optim_wrapper = cfg.param_scheduler = None
    common.merge_common(cfg, args, dict(pin_memory=True, collate_fn=dict(type="default_collate")))


def main() -> None:
    """Tests."""
    args = parse_args()
    cfg = common.load_config(args.config)
    merge(cfg, args)
    common.check_data(cfg)
    prepare(cfg)
    common.check_checkpoint(cfg.load_from)
    runner = common.build_runner(cfg)
    metrics = runner.test() if cfg.get("test_dataloader") else runner.val()
    if args.out:
        mmengine.dump(metrics, args.out)


if __name__ == "__main__":
    sys.exit(common.run(main))
