# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A teacher by its name, from a hub on this machine: fetched, denied, broken off, put by hand."""

import hashlib
import os

import pytest
import torch

from tests.teachers.files import RESNET, own_file
from tests.weights.server import serving
from xmoco_plugin import teachers
from xmoco_plugin.teachers import from_config, zoo
from xmoco_plugin.weights import CheckpointError, NotFetchedError

NAME = "resnet10t.c3_in1k"
PATH = f"/timm/{NAME}/resolve/main/model.safetensors"


@pytest.fixture(autouse=True)
def empty_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    for name in ("HF_ENDPOINT", "HF_TOKEN", "XMOCO_ALLOW_HTTP"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(scope="module")
def body() -> bytes:
    """timm's file of a small network."""
    timm = pytest.importorskip("timm")
    torch.manual_seed(0)
    save = pytest.importorskip("safetensors.torch").save
    return save(timm.create_model("resnet10t").state_dict())


def opened(monkeypatch, address, name=NAME):
    monkeypatch.setenv("HF_ENDPOINT", f"{address}/")
    return from_config.open_teacher(name, fetch=True)


def test_a_name_of_timm_is_fetched_once_from_the_hub_that_is_named(monkeypatch, body, tmp_path):
    with serving({PATH: (200, {}, body)}) as (address, asked):
        first = opened(monkeypatch, address)
        assert f"about 22 MB from {address}{PATH}." in teachers.offer_of(NAME).describe()
        assert opened(monkeypatch, address).digest == first.digest
        assert asked == [PATH]
    place = teachers.offer_of(NAME).place
    assert place.read_bytes() == body
    assert os.listdir(place.parent) == [f"timm-{NAME}.safetensors"]
    assert first.left_out == ("fc.bias", "fc.weight")


def test_the_usual_hub_is_hugging_face():
    pytest.importorskip("timm")
    assert teachers.offer_of(NAME).url == f"https://huggingface.co{PATH}"


def test_a_file_that_breaks_off_leaves_nothing_and_the_next_command_fetches_it(monkeypatch, body):
    half = {"Content-Length": str(len(body))}
    with (
        serving({PATH: (200, half, body[: len(body) // 2])}) as (address, _),
        pytest.raises(NotFetchedError, match=r"ended after [\d,]+ of [\d,]+ bytes: try again"),
    ):
        opened(monkeypatch, address)
    place = teachers.offer_of(NAME).place
    assert os.listdir(place.parent) == []
    with serving({PATH: (200, {}, body)}) as (address, _):
        opened(monkeypatch, address)
    assert place.is_file()


def test_a_gated_repository_says_whose_licence_is_to_be_accepted_and_takes_a_token(
    monkeypatch, body
):
    with serving({PATH: (401, {}, b"")}) as (address, _):
        with pytest.raises(NotFetchedError) as told:
            opened(monkeypatch, address)
        said = str(told.value)
        assert "HTTP Error 401" in said
        assert f"open {address}/timm/{NAME} with an account there, and set HF_TOKEN" in said
        assert "put the file by hand" in said
        monkeypatch.setenv("HF_TOKEN", "hf_secret")
        with pytest.raises(NotFetchedError, match="with the account of that token; or put") as told:
            opened(monkeypatch, address)
        assert "hf_secret" not in str(told.value)


def test_the_token_goes_to_the_hub_and_to_no_host_that_it_leads_to(monkeypatch, body):
    shown = []
    _keep_tokens(monkeypatch, shown)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    with serving({"/blob": (200, {}, body)}) as (other, _):
        moved = {"/moved": (302, {"Location": f"{other}/blob"}, b"")}
        with serving(moved | {PATH: (307, {"Location": "/moved"}, b"")}) as (address, _):
            opened(monkeypatch, address)
    assert shown == [(PATH, "Bearer hf_secret"), ("/moved", "Bearer hf_secret"), ("/blob", None)]


def test_the_token_goes_to_no_other_place_that_weights_are_fetched_from(monkeypatch, tmp_path):
    shown = []
    _keep_tokens(monkeypatch, shown)
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    own_file(tmp_path / "net.pth")
    with serving({"/net.pth": (200, {}, (tmp_path / "net.pth").read_bytes())}) as (address, _):
        offer = teachers.offer_of("resnet18_8xb32_in1k")
        offer._replace(url=f"{address}/net.pth", place=tmp_path / "placed.pth").get()
    assert shown == [("/net.pth", None)]


def _keep_tokens(monkeypatch, shown):
    from http.server import BaseHTTPRequestHandler

    answer = BaseHTTPRequestHandler.send_response

    def noted(self, *arguments):
        shown.append((self.path, self.headers.get("Authorization")))
        answer(self, *arguments)

    monkeypatch.setattr(BaseHTTPRequestHandler, "send_response", noted)


def test_a_hub_that_has_no_such_file_is_named(monkeypatch):
    with (
        serving({}) as (address, _),
        pytest.raises(NotFetchedError, match="HTTP Error 404") as told,
    ):
        opened(monkeypatch, address)
    assert f"HF_ENDPOINT is {address}, which may not have all that https://hugging" in str(
        told.value
    )


def test_a_page_in_place_of_the_file_is_not_read_and_how_to_have_it_anew_is_said(monkeypatch):
    page = b"<!doctype html><title>Log in to this network</title>"
    with (
        serving({PATH: (200, {"Content-Type": "text/html"}, page)}) as (address, _),
        pytest.raises(CheckpointError, match=r"Remove .*resnet10t.*, and it is fetched anew"),
    ):
        opened(monkeypatch, address)


def test_without_a_network_the_file_that_is_put_by_hand_is_found(monkeypatch, body):
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")  # where nothing answers
    with pytest.raises(NotFetchedError, match="Connection refused"):
        from_config.open_teacher(NAME, fetch=True)
    place = teachers.offer_of(NAME).place
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(body)
    assert from_config.open_teacher(NAME).name == NAME


def test_a_hub_without_encryption_is_refused(monkeypatch):
    with pytest.raises(CheckpointError, match=r"plain http.*XMOCO_ALLOW_HTTP=1"):
        opened(monkeypatch, "http://hub.example")


def test_a_name_of_mmpretrain_is_fetched_and_compared_with_the_hash_in_its_name(
    monkeypatch, tmp_path
):
    own_file(tmp_path / "net.pth")
    content = (tmp_path / "net.pth").read_bytes()
    digest = hashlib.sha256(content).hexdigest()[:16]
    offer = teachers.offer_of("resnet18_8xb32_in1k")

    def served(address, name):
        fresh = offer._replace(
            url=f"{address}/{name}", place=zoo.cached_file(f"{address}/{name}"), backbone=RESNET
        )
        monkeypatch.setattr(from_config, "offer_of", lambda _: fresh)
        return from_config.open_teacher("resnet18_8xb32_in1k", fetch=True)

    right, wrong = f"/net-{digest}.pth", "/net-5641ca5a.pth"
    with serving({right: (200, {}, content), wrong: (200, {}, content)}) as (address, _):
        assert served(address, right[1:]).settings == RESNET
        with pytest.raises(CheckpointError, match="its name says 5641ca5a: it is another file"):
            served(address, wrong[1:])


def test_a_mirror_s_password_is_not_shown(monkeypatch):
    monkeypatch.setenv("HF_ENDPOINT", "https://me:secret@mirror.example")
    pytest.importorskip("timm")
    said = teachers.offer_of(NAME).describe()
    assert "secret" not in said
    assert "mirror.example" in said
