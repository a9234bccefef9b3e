# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every tool and option that takes a file, with every hostile file of its kind: nothing is run,
nothing hangs, nothing ends in a traceback, and what is wrong is said in one printable sentence."""

import json
import re
import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from xmoco_plugin.visualization.report import svg

from ..format_once import leave_unformatted
from ..tool_modules import import_tool, run_tool
from ..transfer.hosts import needs_mmdet, needs_mmseg
from . import ways
from .done import done_run
from .scene import Scene

NEEDS = {"mmdet": [needs_mmdet], "mmseg": [needs_mmseg], "": []}
# Whose files come to the host's readers, through ours. The others open none with them.
READ_BY_THE_HOST = (
    "train",
    "test",
    "eval_knn",
    "cifar10_to_npz",
    "transfer",
    "few_labels",
    "compare",
)
WRITTEN = (".npz", ".safetensors")  # by embed and export
CASES = [
    pytest.param(
        way,
        kind,
        id=f"{way.tool} {way.option}: {name}",
        marks=NEEDS[way.needs] + [pytest.mark.host_free] * (way.tool not in READ_BY_THE_HOST),
    )
    for way in ways.WAYS
    for name, kind in way.kinds.items()
]


@pytest.fixture(scope="session")
def done(tmp_path_factory) -> Path:
    return done_run(tmp_path_factory.mktemp("done"))


@pytest.fixture
def scene(tmp_path, monkeypatch, done) -> Scene:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path / "run"))
    return Scene(tmp_path, done)


def draw_nothing(figure, file, **options) -> None:
    """In the place of matplotlib's drawing, which test_broken_files of the report walks."""
    file.write('<svg viewBox="0 0 1 1"></svg>')


def pretend(tool, monkeypatch) -> None:
    """Leaves out what takes long and is walked by itself: training, the report of a run."""
    leave_unformatted(monkeypatch)
    if tool.__name__.endswith("report"):
        monkeypatch.setattr(Figure, "savefig", draw_nothing)
        monkeypatch.setattr(svg, "_lay_out", lambda figure: None)
    if tool.__name__.endswith("browse_views"):  # of good images by then: tests/test_browse_views.py
        monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)
    if tool.__name__.endswith("pretrain"):
        monkeypatch.setattr(tool, "train", lambda *_: 0)
        monkeypatch.setattr(tool.end, "report", lambda folder: None)  # has ways of its own
    if tool.__name__.endswith(("transfer", "few_labels", "compare")):

        def run(name, arguments, gpus, extra):
            metrics = Path(arguments[arguments.index("--test-out") + 1])
            metrics.write_text(json.dumps({"coco/bbox_mAP": 0.1, "mIoU": 1.0}))

        monkeypatch.setattr(import_tool("transfer"), "_run", run)


@pytest.mark.timeout(60, func_only=True)
@pytest.mark.parametrize(("way", "kind"), CASES)
def test_a_hostile_file_does_nothing(way, kind, scene, monkeypatch, capfd):
    scene.furnish(way.place)
    file, mark = scene.here / way.place, scene.here / "MARK"
    if file.is_dir():
        shutil.rmtree(file)
    elif file.is_file():
        file.unlink()
    words = way.words(scene, file)
    kind.make(file, mark)
    tool = import_tool(way.tool)
    pretend(tool, monkeypatch)
    try:
        status = run_tool(tool, monkeypatch, *words)
    except SystemExit as end:
        status = end.code
    said = "".join(capfd.readouterr())
    assert not mark.exists(), f"code was run: {said[-2000:]}"
    assert "Traceback" not in said, said[-3000:]
    assert status in (0, 2, None), said[-2000:]
    if kind.says:
        assert re.search(kind.says, said), said[-2000:]
        if way.refuses:
            assert status == 2, said[-2000:]
            assert file.name in said, said[-2000:]
            assert {path.suffix for path in scene.here.iterdir()}.isdisjoint(WRITTEN), said[-2000:]
    assert not re.search(r"[\x00-\x08\x0b-\x1a\x1c-\x1f\x7f]", said)
