# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Where tools take the folder of a run, or a config beside an export."""

from . import kinds, kinds_runs
from .way import RUN, Way, embed, evaluate, silent

RUNS = [
    Way(
        "report",
        "work_dirs",
        kinds_runs.RUN_CONFIG,
        lambda s, f: [s.run],
        "run/config.py",
        refuses=False,
    ),
    Way(
        "runs",
        "folders",
        kinds_runs.RUN_CONFIG,
        lambda s, f: [s.run],
        "run/config.py",
        refuses=False,
    ),
    Way("report", "compare.json", kinds.JSON, lambda s, f: [f.parent], "work/compare.json"),
    Way(
        "report",
        "duplicates.csv",
        silent(kinds.JSON),
        lambda s, f: [s.run_without_weights],
        "run/duplicates.csv",
        refuses=False,
    ),
    *(
        Way(tool, name, silent(kinds.JSON), words, f"run/{name}", refuses=False)
        for tool in ("report", "runs")
        for words, names in (
            (lambda s, f: [s.run], ("last_checkpoint", "weights.jsonl")),
            # The network, which takes most of a report's time, has nothing to do with these.
            (
                lambda s, f: [s.run_without_weights],
                ("health.jsonl", "summary.json", "opening.txt", "metrics.jsonl"),
            ),
        )
        for name in names
    ),
    *(
        Way(
            "pretrain",
            f"--out ({name})",
            {k: v for k, v in kinds.NO_FILE.items() if k != "a folder"},
            lambda s, f: ["--data", s.done.parent / "images", "--out", s.run, *RUN],
            f"run/{name}",
        )
        for name in ("weights.jsonl", "stopped.txt")
    ),
    *(
        Way(
            "pretrain",
            f"--out ({name})",
            found,
            lambda s, f: ["--data", s.done.parent / "images", "--out", s.run, *RUN],
            f"run/{name}",
        )
        for name, found in (
            ("config.py", kinds_runs.RUN_CONFIG),
            ("options.json", kinds.JSON),
            ("last_checkpoint", kinds.JSON),
            ("scan.jsonl", kinds.JSON),
            ("health.jsonl", kinds.JSON),
            ("files.txt", kinds.JSON),
        )
    ),
    Way(
        "embed",
        "config.py beside",
        kinds_runs.RUN_CONFIG,
        lambda s, f: embed(s, s.exported),
        "export/config.py",
    ),
    Way(
        "evaluate",
        "config.py beside",
        kinds_runs.RUN_CONFIG,
        lambda s, f: evaluate(s, s.exported),
        "export/config.py",
    ),
    Way(
        "train",
        "--config-as-data",
        kinds_runs.RUN_CONFIG,
        lambda s, f: [f, "--config-as-data", "--no-validate"],
        "run/config.py",
    ),
    Way(
        "train",
        "--replay",
        {
            **{k: v for k, v in kinds.NO_FILE.items() if k != "a folder"},
            **kinds_runs.STEP,
        },
        lambda s, f: [s.config, "--no-validate", "--replay", f],
        "work/nonfinite_7",
    ),
    Way(
        "cifar10_to_npz",
        "folder",
        kinds.PICKLE,
        lambda s, f: [s.here, s.here / "arrays"],
        "cifar-10-batches-py/data_batch_1",
        refuses=False,  # the host refuses, and names the folder
    ),
    Way(
        "report",
        "epoch_1.pth",
        kinds.WEIGHTS,
        lambda s, f: [s.run],
        "run/epoch_1.pth",
        refuses=False,
    ),
]
