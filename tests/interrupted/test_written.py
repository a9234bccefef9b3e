# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""No file that is read again is written in place: in the sources, and in a run."""

import ast
import os
import re
import stat
import sys
from pathlib import Path

from mmengine.runner import Runner

import xmoco_plugin
from xmoco_plugin.cli import runners

from .. import tiny_runner
from . import written

PACKAGE = Path(xmoco_plugin.__file__).parent
# Named with a path they write in place; with an open file they write into what somebody opened.
SAVERS = {"write_text", "write_bytes", "tofile", "truncate"}
opened: list[str] | None = None


def listen(event: str, arguments: tuple) -> None:
    if opened is not None and event == "open":
        path, _, flags = arguments
        if flags & (os.O_WRONLY | os.O_RDWR) and isinstance(path, str | os.PathLike):
            opened.append(os.path.abspath(path))


def writes(call: ast.Call) -> bool:
    """Whether a call opens a file to write, or writes to a path."""
    name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
    text = ast.unparse(call)
    if name == "open":
        modes = re.findall(r"'([rwxabt+]+)'", text)
        return "os.O_W" in text or "os.O_RDWR" in text or any(set(m) & set("wxa+") for m in modes)
    return isinstance(call.func, ast.Attribute) and name in SAVERS and len(call.args) <= 1


def test_each_call_that_writes_in_place_is_in_the_list_with_its_reason():
    found = set()
    for file in PACKAGE.rglob("*.py"):
        for function in ast.walk(ast.parse(file.read_text())):
            if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef):
                calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
                if any(map(writes, calls)):
                    found.add((str(file.relative_to(PACKAGE)), function.name))
    assert found == set(written.IN_PLACE)


def test_a_run_opens_nothing_in_its_folder_to_write_but_logs_and_temporary_files(
    tmp_path, monkeypatch
):
    global opened
    config = tiny_runner.config(
        tmp_path,
        validate=True,
        hooks=[
            dict(type="HealthHook", interval=2),
            dict(type="BestExportHook"),
            dict(type="RunSummaryHook"),
            dict(type="FirstBatchHook"),
        ],
        visualizer=dict(
            type="UniversalVisualizer",
            vis_backends=[dict(type="LocalVisBackend"), dict(type="JsonLinesVisBackend")],
        ),
        default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1, save_best="auto")),
    )
    config.launcher = "none"
    monkeypatch.setattr(Runner, "_log_env", lambda *_: None)
    sys.addaudithook(listen)
    opened = []
    try:
        runner = runners.build_runner(config)
        runner.train()
        here = [path for path in opened if path.startswith(str(tmp_path))]
    finally:
        opened = None
    names = [os.path.relpath(path, tmp_path) for path in here]
    assert {"health.jsonl", "metrics.jsonl"} <= set(names)
    assert {"epoch_2.pth", "last_checkpoint", "summary.json", "first_batch.png"} <= {
        file.name for file in tmp_path.iterdir()
    }
    rest = [name for name in names if not re.search(r"(^|/)\.[^/]+\.tmp(/|$)", name)]
    assert [name for name in rest if not any(re.fullmatch(log, name) for log in written.LOGS)] == []
    # The modes that the user's umask leaves, as of any file: not 0600 of a temporary one.
    mask = os.umask(0)
    os.umask(mask)
    for name in ("epoch_2.pth", "last_checkpoint", "summary.json", "health.jsonl", "metrics.jsonl"):
        assert stat.S_IMODE((tmp_path / name).stat().st_mode) == 0o666 & ~mask, name
