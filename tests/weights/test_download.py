# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Weights from a URL: whole or not at all, from where they may be fetched, and read as any file."""

import hashlib
import os
import urllib.request

import pytest
import torch

from xmoco_plugin import _host_loading, weights
from xmoco_plugin.weights import CheckpointError, download, fetch

from ..multiprocess import run_processes
from .hostile import honest, with_code
from .server import serving


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    """An empty cache of torch hub; no proxy; plain http not allowed."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.delenv(download.ALLOW_HTTP, raising=False)
    return tmp_path / "home" / "hub" / "checkpoints"


@pytest.fixture
def body(tmp_path) -> bytes:
    torch.save({"state_dict": honest()}, tmp_path / "good.pth")
    return (tmp_path / "good.pth").read_bytes()


def test_a_file_is_fetched_once_and_read_by_our_reader(cache, body):
    with serving({"/a/w.pth": (200, {}, body)}) as (address, asked):
        for _ in range(2):
            loaded = _host_loading.load_from_http(f"{address}/a/w.pth")
            assert torch.equal(loaded["state_dict"]["queue"], honest()["queue"])
        assert asked == ["/a/w.pth"]
    assert os.listdir(cache) == ["w.pth"]


@pytest.mark.parametrize("cached", [False, True])
def test_code_in_it_is_not_run_whether_it_is_fetched_or_lies_in_the_cache(tmp_path, cache, cached):
    file, mark = with_code(tmp_path)
    if cached:
        cache.mkdir(parents=True)
        (cache / "weights.pth").write_bytes(file.read_bytes())
    with (
        serving({"/weights.pth": (200, {}, file.read_bytes())}) as (address, asked),
        pytest.raises(CheckpointError, match="mkdir, which could do anything"),
    ):
        _host_loading.load_from_http(f"{address}/weights.pth")
    assert bool(asked) is not cached
    assert not mark.exists()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org/w.pth", "is plain http: .* set XMOCO_ALLOW_HTTP=1"),
        ("http://127.0.0.1.example.org/w.pth", "is plain http"),
        ("http://127.0.0.1@example.org/w.pth", r"http://...@example.org/w.pth is plain http"),
        ("https://example.org/", "names no file"),
        ("https://example.org/a/..", "names no file"),
        ("https://example.org/.hidden", "names no file"),
        ("https:///w.pth", "is no URL"),
        ("https://[/w.pth", "is no URL"),
        ("https://example.org:port/w.pth", "is no URL"),
        ("https://example.org/w\n.pth", r"w\\n.pth is no URL"),
        ("ftp://example.org/w.pth", "is no URL"),
    ],
)
def test_urls_that_nothing_is_fetched_from_are_refused_before_a_byte_is_asked_for(
    monkeypatch, url, reason
):
    monkeypatch.setattr(urllib.request, "build_opener", None)
    with pytest.raises(CheckpointError, match=reason):
        fetch(url)


def test_plain_http_is_followed_where_its_user_says_so(monkeypatch):
    monkeypatch.setenv(download.ALLOW_HTTP, "1")
    download.check_url("http://example.org/w.pth")


def test_a_password_in_a_url_is_not_shown():
    assert "secret" not in download.shown_url("https://user:secret@example.org/w.pth")


def test_a_redirect_is_followed_to_where_a_url_may_lead_only(cache, body):
    answers = {
        "/good": (302, {"Location": "/w.pth"}, b""),
        "/w.pth": (200, {}, body),
        "/plain": (302, {"Location": "http://example.org/w.pth"}, b""),
        "/ftp": (302, {"Location": "ftp://127.0.0.1/w.pth"}, b""),
        "/file": (302, {"Location": "file:///etc/passwd"}, b""),
        "/round": (302, {"Location": "/round"}, b""),
    }
    with serving(answers) as (address, _):
        assert fetch(f"{address}/good").read_bytes() == body
        for name, reason in (
            ("plain", "is plain http"),
            ("ftp", "leads to ftp"),
            ("file", "file:///etc/passwd. is not allowed"),
            ("round", "could not be fetched"),
        ):
            with pytest.raises(CheckpointError, match=reason):
                fetch(f"{address}/{name}")
    assert os.listdir(cache) == ["good"]


def test_https_never_leads_to_http_not_even_to_this_machine():
    request = urllib.request.Request("https://example.org/w.pth")
    with pytest.raises(CheckpointError, match=r"leads to http://127.0.0.1/w.pth, which is not"):
        download._Redirects().redirect_request(request, None, 302, "", {}, "http://127.0.0.1/w.pth")


def test_what_ends_early_or_is_not_there_or_too_large_leaves_nothing_behind(
    cache, body, monkeypatch
):
    answers = {
        "/short.pth": (200, {"Content-Length": str(len(body) + 9)}, body),
        "/claims.pth": (200, {"Content-Length": str(1 << 40)}, b""),
        "/number.pth": (200, {"Content-Length": "many"}, body),
    }
    with serving(answers) as (address, _):
        for name, reason in (
            ("short", f"ended after {len(body):,} of {len(body) + 9:,} bytes"),
            ("claims", "larger than 16 GiB, the limit"),
            ("number", "could not be fetched"),
            ("none", "could not be fetched: HTTP Error 404"),
        ):
            with pytest.raises(CheckpointError, match=reason):
                fetch(f"{address}/{name}.pth")
        answers["/w.pth"] = (200, {}, body)
        monkeypatch.setattr(download, "DOWNLOAD_LIMIT", len(body) - 1)
        with pytest.raises(CheckpointError, match="larger than"):
            fetch(f"{address}/w.pth")
    with pytest.raises(CheckpointError, match="could not be fetched"):
        fetch(f"{address}/w.pth")  # nobody answers any more
    assert os.listdir(cache) == []


def test_the_hash_in_a_name_is_compared_on_arrival_and_in_the_cache(cache, body):
    right = hashlib.sha256(body).hexdigest()[:8]
    assert any(c in "abcdef" for c in right)
    names = {right: None, "deadbeef": "its name says deadbeef", "20240131": None}
    answers = {f"/net-{name}.pth": (200, {}, body) for name in names}
    with serving(answers) as (address, _):
        for name, reason in names.items():
            if reason is None:
                fetch(f"{address}/net-{name}.pth")
                continue
            with pytest.raises(CheckpointError, match=reason):
                fetch(f"{address}/net-{name}.pth")
        assert f"net-{right}.pth" in os.listdir(cache)
        assert "net-deadbeef.pth" not in os.listdir(cache)
        (cache / f"net-{right}.pth").write_bytes(body + b"x")
        with pytest.raises(CheckpointError, match=f"its name says {right}"):
            fetch(f"{address}/net-{right}.pth")


def test_a_failure_of_the_first_process_reaches_those_that_wait(monkeypatch):
    said = []
    monkeypatch.setattr(download, "get_dist_info", lambda: (0, 2))
    monkeypatch.setattr(download, "broadcast_object_list", lambda data: said.extend(data))
    with pytest.raises(CheckpointError, match="plain http"):
        fetch("http://example.org/w.pth")
    assert "plain http" in said[0]
    monkeypatch.setattr(download, "get_dist_info", lambda: (1, 2))
    monkeypatch.setattr(
        download, "broadcast_object_list", lambda data: data.__setitem__(0, said[0])
    )
    with pytest.raises(CheckpointError, match="plain http"):
        fetch("http://example.org/w.pth")


def _fetched(rank: int, size: int, home: str, urls: list[str]) -> list[str]:
    os.environ["TORCH_HOME"] = home
    results = []
    for url in urls:
        try:
            results.append(fetch(url).name)
        except CheckpointError as error:
            results.append(str(error))
    return results


def test_two_processes_fetch_a_file_once_and_both_hear_of_a_failure(tmp_path, body):
    with serving({"/w.pth": (200, {}, body)}) as (address, asked):
        urls = [f"{address}/none.pth", f"{address}/w.pth"]
        first, second = run_processes(_fetched, 2, str(tmp_path / "home"), urls)
    assert asked == ["/none.pth", "/w.pth"]
    assert first == second
    assert first[1] == "w.pth"
    assert "HTTP Error 404" in first[0]


def test_a_pipe_in_the_cache_is_not_waited_for(cache):
    cache.mkdir(parents=True)
    os.mkfifo(cache / "net-deadbeef.pth")
    with pytest.raises(CheckpointError, match="a named pipe"):
        fetch("https://example.org/net-deadbeef.pth")


def test_a_cache_that_cannot_be_written_is_said(tmp_path, monkeypatch):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "file"))
    with pytest.raises(CheckpointError, match=r"could not be fetched: .*Not a directory"):
        fetch("https://example.org/w.pth")


def test_a_local_reader_says_what_to_do_with_a_url():
    with pytest.raises(CheckpointError, match=r"https://example.org/w.pth is no file: fetch it"):
        weights.read_checkpoint("https://example.org/w.pth")
