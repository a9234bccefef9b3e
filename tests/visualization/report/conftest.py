# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
from pathlib import Path

import pytest

from xmoco_plugin.visualization.report import WorkDir, write_report

from . import made_runs
from .parsed_page import ParsedPage


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """The work dir of a run of 4 epochs; not to be written to."""
    return made_runs.train(tmp_path_factory.mktemp("runs") / "xmoco")


@pytest.fixture(scope="session")
def other(tmp_path_factory) -> Path:
    """Another seed, watched by HealthHook, with a name that a page must escape: 'moco <b>'."""
    folder = tmp_path_factory.mktemp("runs") / "moco <b>"
    return made_runs.train(folder, watched=True, randomness=dict(seed=1))


@pytest.fixture(scope="session")
def single(finished, tmp_path_factory) -> ParsedPage:
    """The report of one run."""
    return report(tmp_path_factory.mktemp("page") / "single.html", WorkDir.read(finished))


@pytest.fixture(scope="session")
def pair(finished, other, tmp_path_factory) -> ParsedPage:
    """The report of two runs."""
    runs = [WorkDir.read(finished), WorkDir.read(other)]
    return report(tmp_path_factory.mktemp("page") / "pair.html", *runs)


def report(out: Path, *runs: WorkDir) -> ParsedPage:
    """Write the report of some runs and read it."""
    write_report(runs, out, say=lambda text: None)
    page = ParsedPage(out)
    page.missing = [line for run in runs for line in run.missing]
    return page
