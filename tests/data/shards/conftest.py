# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Images, a set of them in a folder, and a server of S3 on loopback."""

import importlib.util
from pathlib import Path

import pytest

from xmoco_plugin.data.shards import write_shards

from ...pretraining.folder import draw
from ...tool_modules import ROOT

IMAGES = 40


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> Path:
    """40 in two folders, one with a long name in another script."""
    root = tmp_path_factory.mktemp("images")
    draw(root / "a", 20, side=8)
    draw(root / ("ünlü " + "x" * 120), 20, side=8, seed=1)
    return root


@pytest.fixture(scope="session")
def local(images, tmp_path_factory) -> Path:
    """The set of them, 5 shards or so, to be read only."""
    out = tmp_path_factory.mktemp("sets") / "set"
    write_shards(images, str(out), 0.0025)
    return out


@pytest.fixture(scope="session")
def server():
    """A server with a bucket."""
    pytest.importorskip("moto")
    pytest.importorskip("s3fs")
    import boto3

    file = ROOT / "benchmarks" / "shards_server.py"
    spec = importlib.util.spec_from_file_location("shards_server", file)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    started = module.Server(seconds=20)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in started.environment().items():
            patch.setenv(name, value)
        boto3.client("s3").create_bucket(Bucket="bucket")
        yield started
    started.stop()


@pytest.fixture(scope="session")
def uploaded(server, images) -> str:
    """URL of the same set in the bucket."""
    write_shards(images, "s3://bucket/a/set", 0.0025)
    return "s3://bucket/a/set"


@pytest.fixture
def bucket(server, uploaded, tmp_path, monkeypatch) -> str:
    """The URL, for a test with a cache of its own and a server that behaves."""
    for name, value in server.environment().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("XMOCO_SHARDS", str(tmp_path / "cache"))
    server.faults = {}
    yield uploaded
    server.faults = {}
