# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Sets of az:// and gs:// on servers of both on loopback: `make test-buckets` installs them."""

import shutil
import socket
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest
from torch.utils.data import DataLoader

from xmoco_plugin.data import ShardedImages, ShardError, ShardSampler
from xmoco_plugin.data.shards import ShardSet, Store, connecting, store, write_shards

from ...free_port import free_port
from .conftest import IMAGES
from .test_bucket import read_all

HOW = "make test-buckets installs it"
# The key of azurite's only account, which its documentation names.
KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
AZURE = "AZURE_STORAGE_CONNECTION_STRING"


def azure(port: int, key: str = KEY) -> str:
    where = f"http://127.0.0.1:{port}/devstoreaccount1"
    account = "DefaultEndpointsProtocol=http;AccountName=devstoreaccount1"
    return f"{account};AccountKey={key};BlobEndpoint={where};"


def answers(port: int) -> bool:
    with socket.socket() as tried:
        return tried.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="module")
def azurite():
    """The port of a server of blobs with a container."""
    blobs = pytest.importorskip("azure.storage.blob", reason=f"adlfs is not there: {HOW}")
    program, port = shutil.which("azurite-blob"), free_port()
    if program is None:
        pytest.skip(f"azurite is not there: {HOW}")
    words = ["--inMemoryPersistence", "--skipApiVersionCheck", "--silent", "--disableTelemetry"]
    where = ["--blobHost", "127.0.0.1", "--blobPort", str(port)]
    with subprocess.Popen([program, *words, *where], stdout=subprocess.DEVNULL) as server:
        try:
            for _ in range(300):
                if answers(port):
                    break
                time.sleep(0.1)
            with blobs.BlobServiceClient.from_connection_string(azure(port)) as client:
                client.create_container("bucket")
            yield port
        finally:
            server.terminate()


@pytest.fixture(scope="module")
def google():
    """The port of a server of objects with a bucket."""
    pytest.importorskip("gcsfs", reason=f"gcsfs is not there: {HOW}")
    servers = pytest.importorskip("gcp_storage_emulator.server", reason=HOW)
    port = free_port()
    server = servers.create_server("127.0.0.1", port, True, default_bucket="bucket")
    server.start()
    yield port
    server.stop()


@pytest.fixture(params=["az", "gs"])
def scheme(request, tmp_path, monkeypatch) -> str:
    """Of a server that answers."""
    if request.param == "az":
        monkeypatch.setenv(AZURE, azure(request.getfixturevalue("azurite")))
    else:
        port = request.getfixturevalue("google")
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("XMOCO_SHARDS", str(tmp_path / "cache"))
    monkeypatch.setattr(store, "PAUSE", 0)
    return request.param


def test_a_set_is_written_and_is_the_one_in_a_folder(scheme, images, local):
    left_out = write_shards(images, f"{scheme}://bucket/a/set", 0.0025)
    remote, here = ShardSet(f"{scheme}://bucket/a/set"), ShardSet(str(local))
    assert left_out == []
    assert remote.index.digest == here.index.digest
    assert read_all(remote) == read_all(here)


def test_a_writing_that_was_stopped_goes_on(scheme, images, monkeypatch):
    url, written = f"{scheme}://bucket/b/set", []
    whole = Store.write

    def write(self, name, content):
        if len(written) == 4 and not stopped:
            raise KeyboardInterrupt
        written.append(name)
        whole(self, name, content)

    stopped: list[bool] = []
    monkeypatch.setattr(Store, "write", write)
    with pytest.raises(KeyboardInterrupt):
        write_shards(images, url, 0.0025)
    stopped.append(True)
    write_shards(images, url, 0.0025)
    assert len(set(written)) == len(written)
    assert len(ShardSet(url)) == IMAGES


def test_workers_read_by_connections_of_their_own(scheme, images):
    url = f"{scheme}://bucket/c/set"
    write_shards(images, url, 0.0025)
    dataset = ShardedImages(url, pipeline=[dict(type="LoadImageOrSkip")])
    dataset.shards.read(0)  # the parent has one too
    for method in ("fork", "spawn"):
        loader = DataLoader(
            *(dataset, 8),
            sampler=ShardSampler(dataset),
            num_workers=2,
            collate_fn=list,
            multiprocessing_context=method,
        )
        names = {sample["img_path"] for batch in loader for sample in batch}
        assert len(names) == IMAGES
        shutil.rmtree(dataset.shards.cache.folder)
        dataset.shards.cache.folder.mkdir()


def test_what_is_not_there_is_named(scheme, images):
    with pytest.raises(ShardError, match=f"{scheme}://nowhere/set.*no such bucket"):
        ShardSet(f"{scheme}://nowhere/set")
    with pytest.raises(ShardError, match=f"{scheme}://nowhere/set.*no such bucket"):
        write_shards(images, f"{scheme}://nowhere/set")
    with pytest.raises(ShardError, match=f"{scheme}://bucket/other is no whole set of shards"):
        ShardSet(f"{scheme}://bucket/other")


def test_a_server_that_is_silent_ends_with_a_sentence(scheme, monkeypatch):
    monkeypatch.setattr(connecting, "SILENCE", 0.3)

    async def no_pause(seconds):
        """At once."""

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen(16)
        port = silent.getsockname()[1]
        monkeypatch.setenv(AZURE, azure(port))
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{port}")
        if scheme == "gs":
            monkeypatch.setattr("gcsfs.retry.asyncio", SimpleNamespace(sleep=no_pause))
        begun = time.monotonic()
        with pytest.raises(ShardError, match=r"no whole answer .*the same command goes on"):
            Store(f"{scheme}://bucket/a/set").read("shards.json")
        assert time.monotonic() - begun < 10


def test_a_key_that_is_wrong_is_named_and_not_shown(azurite, monkeypatch):
    wrong = "A" * 43 + "="
    monkeypatch.setenv(AZURE, azure(azurite, wrong))
    with pytest.raises(ShardError, match=r"not allowed .*AZURE_STORAGE_CONNECTION_STRING") as found:
        ShardSet("az://bucket/a/set")
    assert wrong not in str(found.value)
    monkeypatch.delenv(AZURE)
    with pytest.raises(ShardError, match=r"no credentials .*AZURE_STORAGE_CONNECTION_STRING"):
        ShardSet("az://bucket/a/set")


def test_an_account_that_is_named_is_that_of_the_credentials(azurite, monkeypatch):
    monkeypatch.setenv(AZURE, azure(azurite))
    with pytest.raises(ShardError, match=r"names the account other.* is of devstoreaccount1"):
        ShardSet("az://bucket@other.blob.core.windows.net/a/set")
    assert "adlfs" in sys.modules
    found = Store("abfss://bucket@devstoreaccount1.dfs.core.windows.net/none").sizes()
    assert found == {}
