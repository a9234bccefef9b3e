# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The lines that a run prints for the tools, mmdet and mmseg, carried out."""

import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from functools import partial

import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope

from xmoco_plugin.pretraining import hand_over

from ..forked import command, transfer
from ..transfer.drawn import draw
from ..transfer.hosts import needs_mmdet, needs_mmseg
from ..transfer.small import NO_WORKERS, ROOT, SMALL_CROPS

SMALL = {
    "mmdet": [
        "train_dataloader.dataset.pipeline.2.scale=(96,96)",
        *[f"{stage}_dataloader.dataset.pipeline.1.scale=(96,96)" for stage in ("val", "test")],
    ],
    "mmseg": SMALL_CROPS,
}
# No python in PATH that could stand in for the one that the lines name.
ELSEWHERE = {"PATH": "/usr/bin:/bin", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def by_the_shell(line: str, options: list) -> subprocess.CompletedProcess:
    """Runs a printed line, with options added."""
    return subprocess.run(
        ["bash", "-c", f"{line} {shlex.join(map(str, options))}"],
        cwd=tempfile.gettempdir(),
        env=ELSEWHERE,
        capture_output=True,
        text=True,
        timeout=900,
    )


def carry_out(line: str, options: list) -> subprocess.CompletedProcess:
    """Does what a printed line says without the start of Python, which the first line has."""
    split = subprocess.run(
        ["bash", "-c", f"printf '%s\\0' {line}"], stdout=subprocess.PIPE, text=True
    )
    python, *module, name = (words := split.stdout.split("\0")[:-1])[:4]
    assert (python, *module) == (sys.executable, "-m", "xmoco")
    run = transfer if name == "transfer" else partial(command, name)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tempfile.gettempdir())
        return run(*words[4:], *options)


def test_the_lines_of_the_tools_judge_use_and_report(finished, tmp_path):
    out, _ = finished
    text = (out / "next_steps.md").read_text()
    assert f"`{shlex.quote(sys.executable)} -m xmoco doctor`" in text
    [block] = re.findall(r"## xmoco\n.*?```bash\n(.*?)```", text, re.DOTALL)
    lines = block.splitlines()
    names = ["evaluate", "embed", "report"]
    assert [re.search(r"-m xmoco (\w+)", line)[1] for line in lines] == names
    assert {shlex.split(line)[0] for line in lines} == {sys.executable}
    made = dict(evaluate="table", embed="features.npz", report="page.html")
    for name, line in zip(names, lines, strict=True):
        line = line.replace("FOLDER_OF_IMAGES", shlex.quote(str(out)))  # first_batch.png is one
        options = ["--out", tmp_path / made[name]]
        options += [] if name == "report" else ["--workers", 0]
        done = (by_the_shell if name == names[0] else carry_out)(line, options)
        assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "| knn |" in (tmp_path / "table" / "evaluation.md").read_text()
    assert (tmp_path / "features.npz").is_file()
    assert out.name in (tmp_path / "page.html").read_text()


def test_a_run_without_labels_asks_for_a_labelled_folder(finished, tmp_path):
    out, _ = finished
    cfg = Config.fromfile(str(out / "config.py"))
    for key in ("val_cfg", "val_dataloader", "val_evaluator"):
        cfg.pop(key)
    cfg.dump(tmp_path / "config.py")
    shutil.copy(out / "backbone.pth", tmp_path)
    text = hand_over(tmp_path).read_text()
    python = shlex.quote(sys.executable)
    assert f"\n{python} -m xmoco evaluate {tmp_path}/backbone.pth --data LABELLED_FOLDER\n" in text


@pytest.mark.slow
@pytest.mark.parametrize(
    ("host", "last"),
    [
        pytest.param("mmdet", "AP75", marks=needs_mmdet),
        pytest.param("mmseg", "aAcc", marks=needs_mmseg),
    ],
)
def test_the_printed_line_fine_tunes_tests_and_prints_a_row(finished, tmp_path, host, last):
    out, _ = finished
    text = (out / "next_steps.md").read_text()
    [line] = re.findall(rf"## {host}\n(?:(?!##).)*?```bash\n(.*?)```", text, re.DOTALL)
    data = draw(tmp_path / "data", train=4, val=2)
    line, named = re.subn(r"FOLDER_IN_\w+", shlex.quote(str(data)), line.strip())
    assert named == 1
    options = ["--max-iters", 1, "--work-dir", tmp_path / "work", "--cfg-options"]
    options += [*NO_WORKERS, *SMALL[host]]
    done = carry_out(line, options)
    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert "All 100 backbone weights of backbone.pth" in done.stdout + done.stderr
    head, _, row = done.stdout[done.stdout.index("| start |") :].splitlines()[:3]
    assert head.strip("| ").endswith(last)
    assert row.startswith("| backbone.pth | ")
    assert (tmp_path / "work" / "seed_0" / "iter_1.pth").is_file()


@needs_mmdet
def test_the_lines_for_a_detector_of_ones_own_load_the_weights(finished):
    from mmdet.registry import MODELS

    out, _ = finished
    text = (out / "next_steps.md").read_text()
    [lines] = re.findall(r"## mmdet\n.*?```python\n(.*?)```", text, re.DOTALL)
    names: dict = {}
    exec(lines, names)
    weights = torch.load(out / "backbone.pth", weights_only=True)["state_dict"]
    with DefaultScope.overwrite_default_scope("mmdet"):
        backbone = MODELS.build(dict(type="ResNet", depth=18, **names["model"]["backbone"]))
        backbone.init_weights()
    state = backbone.state_dict()
    assert {f"backbone.{key}" for key in state} == weights.keys()
    assert all(torch.equal(value, weights[f"backbone.{key}"]) for key, value in state.items())
