# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Several processes: one that dies takes the others with it, and the last line says so."""

import os
import signal
import subprocess
import sys

import pytest

from xmoco_plugin.cli import launcher

from ..tool_modules import heed_ctrl_c, wait_for_file

SCRIPT = """
import os, sys, time
open("pid" + os.environ["RANK"], "w").write(str(os.getpid()))
if os.environ["RANK"] == "1":
    while not (os.path.exists("pid0") and os.path.getsize("pid0")):
        time.sleep(0.02)
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
    if sys.argv[1] == "notices":
        os.kill(int(open("pid0").read()), 9)
        time.sleep(0.05)
        os._exit(3)
    if sys.argv[1] == "fails":
        print("why", file=sys.stderr)
        sys.exit(5)
open("ready" + os.environ["RANK"], "w").close()
time.sleep(600)
"""


@pytest.mark.parametrize(
    ("how", "status", "last"),
    [
        ("killed", 137, "was killed (SIGKILL). The others were ended."),
        # The one that is gone is named, not the one that has met its absence.
        ("notices", 137, "was killed (SIGKILL). The others were ended."),
        ("fails", 5, "ended (with status 5); what it said stands above. The others were ended."),
        ("waits", 143, None),
    ],
)
def test_no_process_outlives_another_and_no_traceback_hides_the_reason(tmp_path, how, status, last):
    (tmp_path / "script.py").write_text(SCRIPT)
    process = subprocess.Popen(
        [sys.executable, launcher.__file__, "2", str(tmp_path / "script.py"), how],
        cwd=tmp_path,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    try:
        if how == "waits":
            for rank in "01":
                wait_for_file(tmp_path / f"ready{rank}", process, 120)
            process.terminate()
        said = process.communicate(timeout=120)[1]
    finally:
        process.kill()
    assert process.returncode == status
    assert "Traceback" not in said
    if last:
        number = 0 if how == "notices" else 1
        assert said.splitlines()[-1].startswith(f"error: process {number} (PID ")
        assert last in said.splitlines()[-1]
        assert ("memory ran out" in said) == (status == 137)
    for rank in "01":
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / f"pid{rank}").read_text()), signal.SIGCONT)
