# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Options that several commands have in common."""

import argparse
import os
from collections.abc import Callable
from pathlib import Path
from typing import NoReturn

from .parser import ConfigOptions, one_of, whole

USUAL_SIZE = 224  # px, of ImageNet's recipes
FIGURES = (".json", ".yaml", ".yml", ".pkl", ".pickle")  # mmengine.dump's
ON_NAN = ("stop", "retry")
YEAR = 525_600  # minutes, the most between two checkpoints
LAUNCHERS = ("none", "pytorch", "slurm", "mpi")


def add_common_arguments(parser: argparse.ArgumentParser, subfolder: str = "") -> None:
    """Adds the options that training and testing have in common; see `common.merge_common`."""
    default = str(Path("work_dirs", "CONFIG", subfolder))
    parser.add_argument(
        "--work-dir",
        help="folder for logs and checkpoints; default: the config's work_dir"
        + (f", in there {subfolder}/," if subfolder else "")
        + f" or {default}",
    )
    parser.add_argument(
        "--data-root",
        help="folder of the data: replaces data_root of every dataset in the config; default: the "
        "config's",
    )
    parser.add_argument(
        "--amp", action="store_true", help="compute in mixed precision; default: as the config says"
    )
    parser.add_argument(
        "--no-pin-memory",
        action="store_true",
        help="turn pin_memory off in every dataloader; default: on where there is an accelerator",
    )
    add_verbose(parser)
    add_cfg_options(parser)
    parser.add_argument(
        "--launcher",
        type=one_of(LAUNCHERS),
        choices=LAUNCHERS,
        default="none",
        help="job launcher; default: %(default)s",
    )
    # torch.distributed.launch hands on --local-rank, torchrun sets LOCAL_RANK.
    parser.add_argument(
        "--local_rank",
        "--local-rank",
        type=int,
        default=0,
        help="set by the launcher; default: %(default)s",
    )


def add_verbose(parser: argparse.ArgumentParser) -> None:
    """Adds the option that brings the whole log to the console."""
    parser.add_argument(
        "--verbose", action="store_true", help="show all of the log; default: what concerns you"
    )


def add_cfg_options(parser: argparse.ArgumentParser) -> None:
    """Adds the option that overrides settings of the config."""
    parser.add_argument(
        "--cfg-options",
        nargs="+",
        action=ConfigOptions,
        metavar="KEY=VALUE",
        help="override settings of the config: key=value, also nested (a.b.c=1), lists as "
        'key="[a,b]" or key=a,b; quotation marks are needed, white space is not allowed',
    )


def add_on_nan(parser: argparse.ArgumentParser) -> None:
    """Adds the option of a training whose loss is no number any more."""
    parser.add_argument(
        "--on-nan",
        choices=ON_NAN,
        type=one_of(ON_NAN),
        default="stop",
        help="where a loss becomes NaN or infinite: stop, or retry once, from the last good "
        "checkpoint with a tenth of the learning rate; default: %(default)s",
    )


def check_files(args: argparse.Namespace, parser: argparse.ArgumentParser) -> None:
    """Ends with the config or the checkpoint that is named and not there."""
    config, checkpoint = getattr(args, "config", None), getattr(args, "checkpoint", None)
    if config and not Path(config).is_file():
        refuse(parser, no_config(config))
    if checkpoint in (None, "scratch") or "://" in checkpoint:
        return
    if not Path(checkpoint).expanduser().exists():
        fine_tunes = hasattr(args, "task")
        hint = " The word scratch in its place starts from random weights." if fine_tunes else ""
        refuse(parser, f"There is no checkpoint {checkpoint}.{hint}")


def no_config(path: str) -> str:
    """What is said of a config file that is not there."""
    package = Path(__file__).resolve().parents[2]
    # As an installed package has them, and a checkout.
    folders = package / ".mim" / "configs", package.parent / "configs"
    folder = next(filter(Path.is_dir, folders), folders[0])
    return (
        f"There is no config file {path!r} (looked from {Path.cwd()}). "
        f"The configs of this project are in {folder}."
    )


def refuse(parser: argparse.ArgumentParser, message: str) -> NoReturn:
    """Ends with status 2 and a message for which the usage is of no help."""
    # A name may be anybody's: no control character reaches the terminal.
    shown = (c if c.isprintable() or c == "\n" else ascii(c)[1:-1] for c in message)
    parser.exit(2, f"error: {''.join(shown)}\n")


def add_image_size(parser: argparse.ArgumentParser) -> None:
    """Adds the option that `backbones.image_size` reads."""
    parser.add_argument(
        "--image-size",
        type=whole(1),
        metavar="PIXELS",
        help="side of the centre crop of files, from 1; default: that of the training views where "
        f"the config names it, else {USUAL_SIZE}",
    )


def add_model_config(parser: argparse.ArgumentParser) -> None:
    """Adds the option that `backbones.load_config` reads."""
    parser.add_argument(
        "--config",
        help="config with its model; default: the one in the checkpoint, or beside an export",
    )


def add_prefix(parser: argparse.ArgumentParser, where: str = "the checkpoint") -> None:
    """Adds the option that `find_backbone` takes."""
    parser.add_argument(
        "--prefix",
        help=f"what stands before the backbone's keys in {where}, such as module.encoder; default: "
        "found by their names",
    )


def add_loading(parser: argparse.ArgumentParser) -> None:
    """Adds the options of the loader."""
    parser.add_argument(
        "--batch-size",
        type=whole(1),
        default=256,
        help="images at once, from 1; default: %(default)s",
    )
    parser.add_argument(
        "--workers",
        type=whole(0),
        default=min(8, os.cpu_count() or 1),
        help="loader processes, from 0 (none); default: %(default)s, one a core and 8 at most",
    )
    parser.add_argument(
        "--max-pixels",
        type=whole(1),
        metavar="N",
        help="largest image that is read, height times width, from 1; default: 128,000,000",
    )


def temperature(text: str) -> float | None:
    """A number above 0, or None for "none": what --temperature takes."""
    if text.lower() == "none":
        return None
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not value > 0:
        raise argparse.ArgumentTypeError(f'{text}: a number above 0, or "none"')
    return value


def results_file(*endings: str) -> Callable[[str], str]:
    """Type of an option: a file for figures, in a format that its ending names."""

    def file(text: str) -> str:
        if Path(text).suffix not in endings:
            raise argparse.ArgumentTypeError(
                f"its name ends in none of {', '.join(endings)}, which name the format: {text}"
            )
        return text

    return file
