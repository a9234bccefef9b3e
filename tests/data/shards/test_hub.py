# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Sets in a repository of a hub, read by huggingface_hub from a server on loopback."""

import time

import pytest
from torch.utils.data import DataLoader

from xmoco_plugin.data import ShardedImages, ShardError, ShardSampler
from xmoco_plugin.data.shards import ShardSet, Store, connecting, write_shards

from ...hub_server import Hub
from .conftest import IMAGES
from .test_bucket import read_all

SET = "hf://datasets/user/set"
TOKEN = "hf_aSecretOfTwentyLetters"


@pytest.fixture
def hub(local, tmp_path, monkeypatch):
    """The set in a folder, as a data set; nothing waits between two tries."""
    constants = pytest.importorskip("huggingface_hub.constants")
    server = Hub(local)
    monkeypatch.setenv("HF_ENDPOINT", server.url)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.utils._http.time.sleep", lambda seconds: None)
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("XMOCO_SHARDS", str(tmp_path / "cache"))
    yield server
    server.stop()


def test_the_set_in_a_repository_is_the_one_in_a_folder(hub, local):
    remote, here = ShardSet(SET), ShardSet(str(local))
    assert remote.index.digest == here.index.digest
    assert read_all(remote) == read_all(here)
    assert hub.asked["tree"] == 2  # for the first file, and for all lengths
    assert hub.asked["file"] == len(here.index.shards) + 1  # the index; each in one piece


def test_a_revision_names_a_set(hub, local):
    assert len(ShardSet(f"{SET}@v1")) == IMAGES
    with pytest.raises(ShardError, match=r"set@other.*no such revision"):
        ShardSet(f"{SET}@other")


def test_workers_read_from_a_repository_by_connections_of_their_own(hub):
    dataset = ShardedImages(SET, pipeline=[dict(type="LoadImageOrSkip")])
    dataset.shards.read(0)  # the parent has one too
    loader = DataLoader(
        *(dataset, 8), sampler=ShardSampler(dataset), num_workers=2, collate_fn=list
    )
    assert len({sample["img_path"] for batch in loader for sample in batch}) == IMAGES


@pytest.mark.parametrize("fault", ["error", "half"])
def test_an_answer_that_fails_once_is_asked_for_again(hub, fault, local):
    hub.faults = {"00001.tar": (fault, 1)}
    assert read_all(ShardSet(SET)) == read_all(ShardSet(str(local)))


def test_a_hub_that_fails_without_end_is_named(hub):
    hub.faults = {"00000.tar": ("error", 1000)}
    with pytest.raises(ShardError, match=r"00000.tar: no whole answer .*503.* the same command"):
        ShardSet(SET).read(0)


@pytest.mark.parametrize(("silent", "tries"), [("/tree/", 6), ("/resolve/", 6)])
def test_a_hub_that_is_silent_ends_with_a_sentence(hub, monkeypatch, silent, tries):
    monkeypatch.setattr(connecting, "SILENCE", 0.2)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DOWNLOAD_TIMEOUT", 0.2)
    hub.silent = silent
    begun = time.monotonic()
    with pytest.raises(ShardError, match=r"no whole answer .*the same command goes on"):
        Store(SET).read("shards.json")
    assert time.monotonic() - begun < 6
    assert hub.asked["silent"] == tries


def test_a_client_that_its_user_made_keeps_its_hooks_and_limits(hub, monkeypatch):
    http = pytest.importorskip("huggingface_hub.utils._http")
    seen: list[dict] = []

    def user_made():
        client = http.default_client_factory()
        client.timeout, client.headers["X-Users-Own"] = 7, "1"
        client.event_hooks["request"].append(lambda request: seen.append(request))
        return client

    monkeypatch.setattr(http, "_GLOBAL_CLIENT_FACTORY", user_made)
    http.close_session()
    assert len(ShardSet(SET)) == IMAGES
    http.close_session()  # as after a fault: the next one is made anew
    assert len(ShardSet(SET)) == IMAGES
    assert {request.headers["X-Users-Own"] for request in seen} == {"1"}
    limits = [request.extensions["timeout"] for request in seen]
    assert all(limit[part] for limit in limits for part in ("connect", "read", "write"))
    http.close_session()


def test_the_client_of_older_libraries_gets_the_same_limits():
    requests = pytest.importorskip("requests")
    sent: list[tuple] = []
    session = requests.Session()
    session.send = lambda request, **ways: sent.append(ways["timeout"])
    client = connecting._ending(lambda: session)
    client.get("http://localhost/")
    client.get("http://localhost/", timeout=3)
    assert sent == [(connecting.CONNECT, connecting.SILENCE), 3]


def test_a_file_that_needs_an_agreement_is_named(hub):
    hub.faults = {"shards.json": ("denied", 1000)}
    with pytest.raises(ShardError, match=r"shards.json: not allowed .*HF_TOKEN, or hf auth login"):
        ShardSet(SET)


def test_a_private_repository_is_read_with_a_token_and_named_without(hub, monkeypatch):
    hub.token = TOKEN
    assert len(ShardSet(SET)) == IMAGES
    monkeypatch.setenv("HF_TOKEN", "hf_anotherSecretOfManyLetters")
    with pytest.raises(ShardError, match=r"no such repository, or it is private.*HF_TOKEN") as said:
        ShardSet(SET)
    assert "Letters" not in str(said.value)


def test_what_is_not_there_is_named(hub):
    with pytest.raises(ShardError, match=r"hf://datasets/user/other.*no such repository"):
        ShardSet("hf://datasets/user/other")
    with pytest.raises(ShardError, match=r"hf://datasets/user/set/sub is no whole set of shards"):
        ShardSet(f"{SET}/sub")


def test_a_set_is_not_written_commit_by_commit(images):
    with pytest.raises(ShardError, match=r"sets of hf:// are read alone: .*hf upload-large-folder"):
        write_shards(images, "hf://datasets/user/new")
    with pytest.raises(ShardError, match="read alone"):
        Store("hf://datasets/user/new").write("00000.tar", b"")
