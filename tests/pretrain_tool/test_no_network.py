# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run fetches nothing and tells nobody: neither its processes nor its report."""

import os
import re
import subprocess
import sys

from .command import OFFLINE

# What a browser fetches by itself; a link that is clicked is none.
FETCHED = re.compile(
    r"""(?:\bsrc(?:set)?|\bdata|<link[^>]*\bhref|\baction|xlink:href)\s*=\s*["']?(?!data:|\#)([^"'\s>]+)
    |url\(\s*["']?(?!data:|\#)([^)"']+) | @import\s+([^;]+)""",
    re.VERBOSE | re.IGNORECASE,
)


def test_a_run_and_its_report_try_to_reach_no_other_machine(finished):
    out, _ = finished
    notes = out.parent / "connects.txt"
    assert not notes.exists(), notes.read_text()
    page = (out / "report.html").read_text()
    assert [match.group(0) for match in FETCHED.finditer(page)] == []
    assert not re.search(r"<script[^>]*\bsrc|<iframe|fetch\(|XMLHttpRequest|WebSocket", page)


def test_a_try_would_be_seen(tmp_path):
    env = {**os.environ, "PYTHONPATH": str(OFFLINE), "XMOCO_TEST_CONNECTS": str(tmp_path / "c")}
    code = "import urllib.request; urllib.request.urlopen('http://example.invalid/x')"
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True)
    assert "a test has no network" in done.stderr
    assert "example.invalid" in (tmp_path / "c").read_text()
    assert FETCHED.search('<link rel="stylesheet" href="https://cdn.example/x.css">')
    assert FETCHED.search("<style>@import 'https://cdn.example/x.css';</style>")
