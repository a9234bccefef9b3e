# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The house as CONTRIBUTING.md draws it: who may import whom, and how long a file may be."""

import ast
import re
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGE = ROOT / "xmoco_plugin"
SHARED = {"distributed", "precision"}
# Rooms of the package that a room may import, beside itself.
MAY_IMPORT = {
    "distributed": set(),
    "precision": set(),
    "cpu_amp": set(),
    "outputs": set(),
    "log_detail": set(),
    "progress": set(),
    "version": set(),
    "findings": set(),
    "_stack": set(),
    "_yapf_cache": set(),
    "_config_scope": set(),
    "_host_collate": set(),
    "untrusted": set(),
    "weights": {"untrusted"},
    "checkpoint": {"untrusted", "weights"},
    "_host_loading": {"untrusted", "weights"},
    "_host_writing": {"checkpoint"},
    "json_lines": {"untrusted"},
    "export": {"untrusted", "weights", "checkpoint", "version", "views"},
    "losses": SHARED,
    "momentum": SHARED,
    "resuming": {"distributed"},
    "evaluation": SHARED | {"log_detail", "progress"},
    "data": {"untrusted", "checkpoint", "findings"},
    "views": SHARED,
    "downstream": {"untrusted", "weights", "checkpoint", "findings", "progress"},
    "teachers": {
        *("untrusted", "weights", "checkpoint", "data", "export", "evaluation", "precision"),
        "cpu_amp",
    },
    "pretraining": {
        "findings",
        "untrusted",
        "weights",
        "checkpoint",
        "json_lines",
        "_config_scope",
        "data",
        "export",
    },
    "cli": {
        *("untrusted", "weights", "_host_loading"),
        *("checkpoint", "data", "distributed", "downstream", "evaluation", "export", "hooks"),
        *("json_lines", "pretraining", "version", "views", "visualization", "_config_scope"),
        "findings",
        *("teachers", "cpu_amp", "progress"),
    },
    "heads": {"losses", "outputs", "precision"},
    "algorithms": {"momentum", "outputs"} | SHARED,
    "visualization": {
        "untrusted",
        "weights",
        "evaluation",
        "checkpoint",
        "json_lines",
        "_config_scope",
        "version",
    },
    "hooks": {
        "untrusted",
        "weights",
        "version",
        "evaluation",
        "checkpoint",
        "json_lines",
        "export",
        "log_detail",
        "resuming",
        "teachers",
        "views",
        "visualization",
    }
    | SHARED,
}
FILES = sorted(PACKAGE.rglob("*.py"))


def room_of(file: Path) -> str:
    return file.relative_to(PACKAGE).with_suffix("").parts[0]


def imported_rooms(file: Path) -> set[str]:
    """Rooms of the package that a file imports, however it spells it."""
    rooms = set()
    depth = len(file.relative_to(PACKAGE).parts)
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                # Only what leaves the room can be another room.
                if node.level < depth:
                    continue
                base = f"xmoco_plugin.{base}".rstrip(".")
            names = [base] if base.count(".") else [f"{base}.{a.name}" for a in node.names]
        else:
            continue
        rooms |= {n.split(".")[1] for n in names if n.startswith("xmoco_plugin.")}
    return rooms


@pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(ROOT)))
def test_a_room_imports_only_what_it_may(file):
    room = room_of(file)
    if room == "__init__":
        return  # importing the package registers every room
    assert room in MAY_IMPORT, f"{file}: a new room needs a row in this table and CONTRIBUTING.md"
    assert imported_rooms(file) <= MAY_IMPORT[room] | {room}


def test_the_table_names_what_there_is():
    assert {room_of(f) for f in FILES} - {"__init__"} == set(MAY_IMPORT)


def test_losses_heads_and_data_do_not_know_the_runner():
    for room in ("losses", "heads", "data", "views", "momentum", "algorithms"):
        for file in (PACKAGE / room).glob("*.py"):
            assert "mmengine.runner" not in file.read_text(), file


def test_no_file_is_longer_than_300_lines_and_xmoco_stays_under_150():
    rooms = ("tools", "benchmarks", "tests", "configs")
    others = [f for room in rooms for f in (ROOT / room).rglob("*.py")]
    assert Path(__file__).resolve() in others
    lengths = {f: len(f.read_text().splitlines()) for f in FILES + others}
    assert {f: n for f, n in lengths.items() if n > 300} == {}
    assert lengths[PACKAGE / "algorithms" / "xmoco.py"] < 150


def test_what_runs_before_the_hosts_are_there_imports_the_standard_library_alone():
    cli = PACKAGE / "cli"
    names = ("before_import.py", "door.py", "doctor.py", "agent.py", "__main__.py")
    for file in [ROOT / "xmoco.py", *(cli / n for n in names), *(cli / "options").glob("*.py")]:
        for node in ast.walk(ast.parse(file.read_text())):
            found = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            if isinstance(node, ast.ImportFrom):
                # Of the folder itself, which is loaded by its path and has no other parent.
                assert node.level in (0, 1), file
                found = [node.module] if node.level == 0 else []
            assert {name.split(".")[0] for name in found} <= sys.stdlib_module_names, file


def test_nothing_imports_the_tools_or_benchmarks():
    wrong = re.compile(r"^\s*(import|from) (tools|benchmarks)\b", re.MULTILINE)
    assert not [f for f in FILES if wrong.search(f.read_text())]


def test_tools_are_doors_of_at_most_15_lines_that_hold_no_logic():
    doors = {f: f.read_text() for f in (ROOT / "tools").glob("*.py")}
    assert {f.stem for f in doors} <= {f.stem for f in (PACKAGE / "cli").glob("*.py")}
    assert {f.name: n for f, t in doors.items() if (n := len(t.splitlines())) > 15} == {}
    for file, text in doors.items():
        assert f'xmoco.run("{file.stem}")' in text
