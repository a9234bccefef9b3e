# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Sets in a folder: what comes back, a command that was stopped, and what is refused."""

import json
import shutil
import sys
import tarfile
from pathlib import Path

import pytest

from xmoco_plugin.data import ShardError
from xmoco_plugin.data.shards import DamagedShardError, ShardSet, Store, plain_url, write_shards

from .conftest import IMAGES


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


@pytest.fixture
def copy(local, tmp_path) -> Path:
    return Path(shutil.copytree(local, tmp_path / "set"))


def test_every_image_comes_back_with_its_name_and_bytes(images, local):
    shards = ShardSet(str(local))
    assert len(shards) == IMAGES
    assert len(shards.lengths) > 3
    assert dict(map(shards.read, range(IMAGES))) == files(images)


def test_a_shard_is_a_tar_that_others_read(images, local):
    with tarfile.open(sorted(local.glob("*.tar"))[0]) as tar:
        found = {member.name: tar.extractfile(member).read() for member in tar}
    assert found.items() <= files(images).items()


def test_each_shard_is_a_sample_of_the_folder(local):
    shards = ShardSet(str(local))
    first = [shards.read(i)[0][0] for i in range(IMAGES // 2)]
    assert 5 <= first.count("a") <= 15


def test_a_command_that_was_stopped_goes_on_and_ends_as_one_that_was_not(
    images, local, tmp_path, monkeypatch
):
    write, left = Store.write, 7

    def stopped(self, name, content):
        nonlocal left
        if not left:
            raise KeyboardInterrupt
        left -= 1
        write(self, name, content)

    monkeypatch.setattr(Store, "write", stopped)
    with pytest.raises(KeyboardInterrupt):
        write_shards(images, str(tmp_path / "set"), 0.0025)
    monkeypatch.undo()
    with pytest.raises(ShardError, match=r"no whole set of shards.*it goes on"):
        ShardSet(str(tmp_path / "set"))
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "set").glob("*.tar")}
    write_shards(images, str(tmp_path / "set"), 0.0025)
    assert files(tmp_path / "set") == files(local)
    kept = [p for p, time in before.items() if p.stat().st_mtime_ns == time]
    assert len(kept) == 3  # the fourth stood without its note


def test_what_is_no_image_is_named_each_time_and_other_images_are_refused(images, tmp_path):
    shutil.copytree(images, tmp_path / "images")
    (tmp_path / "images/a/text.png").write_text("text")
    (tmp_path / "images/a/empty.jpg").touch()
    for _ in range(2):
        left_out = dict(write_shards(tmp_path / "images", str(tmp_path / "set")))
        assert sorted(left_out) == ["a/empty.jpg", "a/text.png"]
        assert left_out["a/text.png"] == "not an image: the file is text ('text' ...)"
    assert len(ShardSet(str(tmp_path / "set"))) == IMAGES
    (tmp_path / "images/a/text.png").unlink()
    with pytest.raises(ShardError, match="holds a set of other images"):
        write_shards(tmp_path / "images", str(tmp_path / "set"))


def test_a_file_that_changed_in_its_length_is_other_and_a_copy_the_same_set(images, tmp_path):
    folder = Path(shutil.copytree(images, tmp_path / "images"))
    write_shards(folder, str(tmp_path / "set"))
    write_shards(Path(shutil.copytree(folder, tmp_path / "copy")), str(tmp_path / "set"))
    first = next(folder.rglob("*.png"))
    first.write_bytes(first.read_bytes())  # now, as an edit would be
    with pytest.raises(ShardError, match="a file with another time of change counts as changed"):
        write_shards(folder, str(tmp_path / "set"))
    write_shards(folder, str(tmp_path / "other"))
    digests = {ShardSet(str(tmp_path / name)).index.digest for name in ("set", "other")}
    assert len(digests) == 1


def test_a_missing_or_cut_shard_is_named_before_anything_is_read(copy):
    with open(copy / "00002.tar", "r+b") as file:
        file.truncate(700)
    with pytest.raises(ShardError, match=r"1 of \d+ shards .*00002.tar has 700 bytes where"):
        ShardSet(str(copy))
    (copy / "00001.tar").unlink()
    with pytest.raises(ShardError, match=r"2 of \d+ shards are not whole: .*00001.tar is missing"):
        ShardSet(str(copy))


def test_a_shard_with_another_checksum_is_named_and_the_others_are_read(copy):
    content = bytearray((copy / "00000.tar").read_bytes())
    content[700] ^= 1
    (copy / "00000.tar").write_bytes(content)
    shards = ShardSet(str(copy))
    with pytest.raises(DamagedShardError, match=r"00000.tar does not have its checksum"):
        shards.read(0)
    assert shards.read(IMAGES - 1)[1]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda facts: facts | {"format": 2}, "has format 2; this version reads 1"),
        (lambda facts: facts | {"shards": []}, "names no shards"),
        (lambda facts: facts | {"left_out": "1"}, "damaged"),
        (lambda facts: [], "has format None"),
        (
            lambda facts: facts | {"shards": [facts["shards"][0] | {"name": "../../etc/x.tar"}]},
            "names no shards",
        ),
    ],
)
def test_an_index_of_another_version_or_damaged_is_refused(copy, change, said):
    index = copy / "shards.json"
    index.write_text(json.dumps(change(json.loads(index.read_text()))))
    with pytest.raises(ShardError, match=said):
        ShardSet(str(copy))


def test_another_set_than_the_run_began_with_is_refused(local):
    digest = ShardSet(str(local)).index.digest
    assert len(ShardSet(str(local), digest=digest)) == IMAGES
    with pytest.raises(ShardError, match="another set than when the run began"):
        ShardSet(str(local), digest="0" * 32)


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("s3://KEY:S3CRET@bucket/set", "credentials have no place in the name"),
        ("s3://bucket/set?token=S3CRET", "credentials have no place in the name"),
        ("ftp://host/set", "buckets are read by s3://"),
        ("s3://", "name a bucket"),
        ("s3://b/{{ fileDirname }}", "the name of a set has letters, digits"),
        ("s3://b/*", "the name of a set has letters, digits"),
    ],
)
def test_a_url_that_is_none_is_refused_without_its_secrets(url, said):
    with pytest.raises(ShardError, match=said) as error:
        Store(url)
    assert "S3CRET" not in str(error.value)


@pytest.mark.parametrize("url", ["s3://b/date=2026-01-01/set", "S3://b/set/", "s3://b/a+b%20,c"])
def test_every_name_that_is_taken_has_one_spelling(url):
    assert Store(url).url == plain_url(url) == url.replace("S3", "s3").rstrip("/")


def test_an_index_without_end_is_not_read(copy):
    with pytest.raises(ShardError, match="limit"):
        Store(str(copy)).read("00000.tar", 100)


@pytest.mark.parametrize(
    ("url", "module", "said"),
    [
        ("gs://bucket/set", "gcsfs", r"gs:// needs the package gcsfs, .*pip install gcsfs\."),
        ("abfss://bucket/set", "adlfs", r"abfss:// needs the package adlfs, .*pip install adlfs\."),
        ("hf://datasets/u/s", "huggingface_hub", r"hf:// needs .*pip install huggingface_hub\."),
        ("s3://bucket/set", "s3fs", r"s3:// needs .*pip install 'xmoco_plugin\[shards\]'"),
    ],
)
def test_the_package_that_a_bucket_needs_is_named(monkeypatch, url, module, said):
    pytest.importorskip("fsspec")
    known = pytest.importorskip("fsspec.registry")._registry  # of what was imported before
    for scheme in list(known):
        monkeypatch.delitem(known, scheme)
    for name in [name for name in sys.modules if name.split(".")[0] == module]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ShardError, match=said):
        ShardSet(url)
