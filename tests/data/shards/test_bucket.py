# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Sets in a bucket, from a real server on loopback that answers wrongly when it is told to."""

import errno
import shutil
from collections import namedtuple

import pytest

from xmoco_plugin.data import ShardError
from xmoco_plugin.data.shards import DamagedShardError, ShardSet, cache, connecting, store

from .conftest import IMAGES


def read_all(shards: ShardSet) -> dict[str, bytes]:
    return dict(shards.read(image) for image in range(len(shards)))


@pytest.fixture
def quick(monkeypatch):
    """A server's silence is taken for an end after half a second."""
    monkeypatch.setattr(connecting, "SILENCE", 0.5)
    monkeypatch.setattr(store, "PAUSE", 0)


def test_the_set_in_a_bucket_is_the_one_in_a_folder(bucket, local):
    remote, here = ShardSet(bucket), ShardSet(str(local))
    assert remote.index.digest == here.index.digest
    assert read_all(remote) == read_all(here)


def test_a_shard_is_fetched_once_for_all_that_read_it(bucket, server):
    read_all(ShardSet(bucket))
    asked = server.gets
    assert len(read_all(ShardSet(bucket))) == IMAGES
    assert server.gets == asked + 1  # the index


def test_no_more_of_a_file_is_fetched_than_it_may_have(bucket):
    with pytest.raises(ShardError, match="more than 100 bytes, the limit"):
        store.Store(bucket).read("00000.tar", 100)


def test_a_shard_that_is_damaged_in_the_cache_is_fetched_anew(bucket, local, server, tmp_path):
    read_all(ShardSet(bucket))
    (file,) = (tmp_path / "cache").rglob("00001.tar")
    whole = file.read_bytes()
    file.write_bytes(whole[:700] + bytes([whole[700] ^ 1]) + whole[701:])
    asked = server.gets
    assert read_all(ShardSet(bucket)) == read_all(ShardSet(str(local)))
    assert file.read_bytes() == whole
    assert server.gets == asked + 2  # the index and this one


def test_the_cache_stays_below_its_limit(bucket, tmp_path):
    shards = ShardSet(bucket)
    largest = max(shard.bytes for shard in shards.index.shards)
    shards = ShardSet(bucket, cache_gb=2.5 * largest / 1e9)
    for image in range(IMAGES):
        shards.read(image)
        held = sum(p.stat().st_size for p in (tmp_path / "cache").rglob("*.tar"))
        assert held <= 2.5 * largest
    assert held > largest


def test_a_cache_that_is_too_small_for_the_order_is_refused_with_what_would_do(bucket):
    with pytest.raises(ShardError, match=r"reads 4 shards of up to .* at a time: give it .*GB"):
        ShardSet(bucket, cache_gb=2e-6).check_room(4)


def test_a_full_disk_is_named(bucket, monkeypatch):
    shards = ShardSet(bucket)

    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "write_atomic", full)
    with pytest.raises(ShardError, match=r"cannot take .*No space left.*the same command goes on"):
        shards.read(0)
    usage = namedtuple("usage", "total used free")(10, 10, 0)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage)
    with pytest.raises(ShardError, match=r"is full: .* GB more are needed"):
        ShardSet(bucket, cache_gb=1).check_room(4)


@pytest.mark.parametrize("fault", ["stall", "error", "half"])
def test_an_answer_that_fails_once_is_asked_for_again(bucket, server, quick, fault, local):
    server.faults = {"00001.tar": (fault, 1)}
    assert read_all(ShardSet(bucket)) == read_all(ShardSet(str(local)))


@pytest.mark.parametrize("fault", ["stall", "error", "half"])
def test_a_server_that_never_answers_ends_the_run_with_a_sentence(bucket, server, quick, fault):
    server.faults = {"00000.tar": (fault, 1000)}
    with pytest.raises(ShardError, match=r"00000.tar: no whole answer after 3 tries"):
        ShardSet(bucket).read(0)


def test_a_shard_that_is_damaged_in_the_bucket_is_named(bucket, local):
    other = store.Store("s3://bucket/damaged")
    for file in local.glob("*.*"):
        content = bytearray(file.read_bytes())
        content[700 if file.name == "00000.tar" else 0] ^= file.name == "00000.tar"
        other.write(file.name, bytes(content))
    shards = ShardSet("s3://bucket/damaged")
    with pytest.raises(DamagedShardError, match=r"damaged/00000.tar does not have its checksum"):
        shards.read(0)
    assert shards.read(IMAGES - 1)[1]


@pytest.mark.parametrize(
    ("fault", "said"), [("denied", "not allowed"), ("expired", "not allowed.*expired")]
)
def test_a_bucket_that_is_not_allowed_is_named(bucket, server, fault, said):
    server.faults = {"shards.json": (fault, 1000)}
    with pytest.raises(ShardError, match=said):
        ShardSet(bucket)


def test_a_bucket_or_set_that_is_not_there_is_named(bucket):
    with pytest.raises(ShardError, match=r"s3://nowhere/set.*no such bucket"):
        ShardSet("s3://nowhere/set")
    with pytest.raises(ShardError, match="s3://bucket/other is no whole set of shards"):
        ShardSet("s3://bucket/other")


def test_missing_credentials_are_said(bucket, monkeypatch, tmp_path):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(ShardError, match=r"no credentials .*AWS_ACCESS_KEY_ID"):
        ShardSet(bucket)
