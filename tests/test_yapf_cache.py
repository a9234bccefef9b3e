# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A cache of yapf that another process has half written does not end what imports the package."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

YAPF = "import yapf.yapflib.yapf_api"
# The module alone: the package around it has imported yapf by the time it can be asked.
MODULE = Path(__file__).parents[1] / "xmoco_plugin" / "_yapf_cache.py"
ALONE = f"""
import runpy
runpy.run_path({str(MODULE)!r})["import_yapf"](tries=5)
from yapf.yapflib.yapf_api import FormatCode
print(FormatCode("a=1")[0])
"""
# Another process removes the cache after yapf has looked at it and before it opens it.
REMOVED = """
import os, shutil
getmtime = os.path.getmtime
def then_removed(file):
    time = getmtime(file)
    if str(file).endswith(".pickle"):
        os.path.getmtime = getmtime
        shutil.rmtree(os.path.dirname(file))
    return time
os.path.getmtime = then_removed
"""
MISSING = """
import sys
sys.modules["platformdirs"] = None  # as where it is not installed
"""


def run(code: str, cache: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-c", code],
        env=os.environ | {"XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=60,
    )


@pytest.fixture
def half_written(tmp_path):
    """Returns a cache folder whose pickles end early, newer than the grammars; and whole ones."""
    assert run(YAPF, tmp_path).returncode == 0
    whole = {file: file.read_bytes() for file in tmp_path.rglob("*.pickle")}
    assert whole
    for file, content in whole.items():
        file.write_bytes(content[: len(content) // 2 if "Pattern" in file.name else 0])
    return tmp_path, whole


def test_yapf_itself_fails_on_it(half_written):
    assert "EOFError: Ran out of input" in run(YAPF, half_written[0]).stderr


def test_a_broken_cache_is_written_anew(half_written):
    folder, whole = half_written
    done = run(ALONE, folder)
    assert done.stdout.startswith("a = 1"), done.stderr
    assert {file: file.read_bytes() for file in folder.rglob("*.pickle")}.keys() == whole.keys()
    assert run(YAPF, folder).returncode == 0


def test_a_cache_that_another_process_is_writing_is_waited_for(half_written):
    folder, whole = half_written
    marker = next(iter(whole)).with_name("marker")  # gone where the folder was removed
    marker.touch()

    def finish() -> None:
        time.sleep(1)
        for file, content in whole.items():
            file.write_bytes(content)

    writer = threading.Thread(target=finish)
    writer.start()
    done = run(ALONE.replace("tries=5", "tries=200"), folder)
    writer.join()
    assert done.stdout.startswith("a = 1"), done.stderr
    assert marker.exists()


def test_a_cache_that_another_process_removes_is_written_anew(tmp_path):
    assert run(YAPF, tmp_path).returncode == 0
    assert "FileNotFoundError" in run(REMOVED + YAPF, tmp_path).stderr
    assert run(YAPF, tmp_path).returncode == 0
    done = run(REMOVED + ALONE, tmp_path)
    assert done.stdout.startswith("a = 1"), done.stderr


def test_a_yapf_that_cannot_be_imported_is_left_to_those_who_need_it(tmp_path):
    assert "ModuleNotFoundError" in run(MISSING + YAPF, tmp_path).stderr
    only = ALONE.partition("from yapf")[0]
    done = run(MISSING + only + "print('went on')", tmp_path)
    assert done.stdout == "went on\n", done.stderr


def test_without_a_module_of_yapf_the_check_of_the_stack_says_so_where_mmengine_needs_it(tmp_path):
    """mmengine 0.10.7 needs yapf when it is imported, onedl-mmengine 0.10.12 does not."""
    needed = run(MISSING + "import mmengine", tmp_path).returncode != 0
    done = run(MISSING + "import xmoco_plugin", tmp_path)
    assert (done.returncode != 0) == needed, done.stderr
    assert ("xmoco_plugin cannot use the OpenMMLab stack" in done.stderr) == needed, done.stderr


def test_after_the_package_is_imported_neither_stack_meets_the_broken_cache(half_written):
    """mmengine 0.10.7 imports yapf when it is imported, onedl-mmengine 0.10.12 to show a config."""
    show = "import xmoco_plugin; from mmengine import Config; print(Config(dict(a=1)).pretty_text)"
    done = run(show, half_written[0])
    assert done.stdout.endswith("a = 1\n\n"), done.stderr
