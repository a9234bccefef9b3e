# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Archives that a stranger made: limits, checksums, and what is left out counted by kind."""

import gzip
import io
import os
import shutil
import stat
import struct
import tarfile
import zipfile
from pathlib import Path

import pytest

from xmoco_plugin.pretraining import PretrainError
from xmoco_plugin.pretraining.archives import unpack

from .folder import draw


@pytest.fixture(scope="module")
def image(tmp_path_factory) -> bytes:
    return (draw(tmp_path_factory.mktemp("one"), 1) / "000.png").read_bytes()


def tar(path: Path, members: dict[str, bytes | str], mode: str = "w") -> Path:
    """Writes a tar; a member that is a text is of that type."""
    with tarfile.open(path, mode, format=tarfile.GNU_FORMAT) as file:
        for name, content in members.items():
            info = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                info.size = len(content)
                file.addfile(info, io.BytesIO(content))
            else:
                info.type, info.linkname = content.encode(), "/etc/passwd"
                file.addfile(info)
    return path


def zipped(path: Path, members: dict[str, bytes], **attributes: int) -> Path:
    with zipfile.ZipFile(path, "w") as file:
        for name, content in members.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = attributes.get(Path(name).stem, 0) << 16
            file.writestr(info, content)
    return path


def names(folder: Path) -> list[str]:
    return sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())


def test_what_a_tar_holds_beside_images_is_counted_by_kind(tmp_path, image):
    archive = tar(
        tmp_path / "a.tar",
        {
            "good.png": image,
            "link.png": tarfile.SYMTYPE.decode(),
            "hard.png": tarfile.LNKTYPE.decode(),
            "pipe.png": tarfile.FIFOTYPE.decode(),
            "zero.png": tarfile.CHRTYPE.decode(),
            ".hidden.png": image,
            ".thumbnails/a.png": image,
            "a/../../b.png": image,
            "good.png/below.png": image,
            f"{'x' * 300}.png": image,
            f"{'d/' * 1500}a.png": image,
            "more.zip": b"PK",
            "notes.md": b"text",
            "folder": tarfile.DIRTYPE.decode(),
        },
    )
    found = unpack(archive, tmp_path / "out")
    assert names(found.folder) == ["good.png"]
    assert found.note == (
        f"left out of {archive}: links 2, devices or pipes 2, hidden files 2, names that lead "
        "outside 1, names that are there already 1, names that no file can have 1, files below "
        "more than 100 folders 1, archives in it 1, files that are no images 1"
    )
    assert unpack(archive, tmp_path / "out") == found, "said the first time only"


def test_what_a_zip_holds_beside_images_is_counted_by_kind(tmp_path, image):
    members = {"good.png": image, "link.png": b"/etc/passwd", "a/../../b.png": image}
    archive = zipped(tmp_path / "a.zip", members, link=stat.S_IFLNK | 0o777)
    content = bytearray(zipped(tmp_path / "b.zip", {"locked.png": image}).read_bytes())
    found = unpack(archive, tmp_path / "out")
    assert names(found.folder) == ["good.png"]
    assert found.note.endswith("links 1, names that lead outside 1")
    place = content.rfind(b"PK\1\2")
    content[place + 8] |= 1  # the flag of encryption
    (tmp_path / "b.zip").write_bytes(content)
    with pytest.raises(PretrainError, match=r"b\.zip holds no image .*: encrypted files 1"):
        unpack(tmp_path / "b.zip", tmp_path / "out")


def test_of_two_members_of_one_name_the_first_stays_and_the_second_is_counted(tmp_path, image):
    archive = tmp_path / "a.tar"
    with tarfile.open(archive, "w") as file:
        for content in (image, b"other"):
            info = tarfile.TarInfo("a.png")
            info.size = len(content)
            file.addfile(info, io.BytesIO(content))
    found = unpack(archive, tmp_path / "out")
    assert (found.folder / "a.png").read_bytes() == image
    assert "names that are there already 1" in found.note


def left(folder: Path) -> list[str]:
    return [p.name for p in folder.iterdir()] if folder.exists() else []


def test_a_zip_above_the_limit_is_refused_by_its_directory(tmp_path):
    with zipfile.ZipFile(tmp_path / "a.zip", "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("a.bmp", bytes(50_000_000))
    assert (tmp_path / "a.zip").stat().st_size < 60_000
    with pytest.raises(PretrainError, match=r"50\.0 MB, the limit is 10\.0 MB: .*--max-unpacked 1"):
        unpack(tmp_path / "a.zip", tmp_path / "out", max_bytes=10_000_000)
    assert left(tmp_path / "out") == []


def test_a_tar_is_refused_while_it_is_unpacked_whatever_its_headers_say(tmp_path, image):
    content = tar(tmp_path / "a.tar", {"a.png": image, "b.md": bytes(30_000_000)}).read_bytes()
    (tmp_path / "a.tar.gz").write_bytes(gzip.compress(content + bytes(30_000_000)))
    for limit in (20_000_000, 50_000_000):  # inside a member that is left out; after the last one
        with pytest.raises(PretrainError, match=r"holds more than .* the limit"):
            unpack(tmp_path / "a.tar.gz", tmp_path / "out", max_bytes=limit)
        assert left(tmp_path / "out") == []
    assert unpack(tmp_path / "a.tar.gz", tmp_path / "out", max_bytes=70_000_000).note


@pytest.mark.parametrize("ending", ["zip", "tar"])
def test_more_members_than_the_limit_are_refused(tmp_path, image, ending):
    members = {f"{i}.png": image for i in range(5)}
    archive = (zipped if ending == "zip" else tar)(tmp_path / f"a.{ending}", members)
    with pytest.raises(PretrainError, match=r"more than 4 members, the limit: .*--max-members"):
        unpack(archive, tmp_path / "out", max_members=4)
    assert unpack(archive, tmp_path / "out", max_members=5).note == ""


def test_the_limits_are_said_before_anything_is_unpacked(tmp_path, image):
    said: list[str] = []
    unpack(tar(tmp_path / "a.tar", {"a.png": image}), tmp_path / "out", say=said.append)
    assert said == [
        f"unpacking {tmp_path}/a.tar: at most 10.0 GB (--max-unpacked) and 5,000,000 members "
        "(--max-members)"
    ]


def test_a_disk_without_room_for_what_a_zip_says_is_refused_at_first(tmp_path, image, monkeypatch):
    archive = zipped(tmp_path / "a.zip", {"a.png": image})
    usage = shutil._ntuple_diskusage(10**12, 10**12, 10**9)  # type: ignore[attr-defined]
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    with pytest.raises(PretrainError, match=r"does not fit the disk .* 1\.0 GB are free"):
        unpack(archive, tmp_path / "out")
    assert left(tmp_path / "out") == []


def test_a_wrong_checksum_of_gzip_is_noticed_though_it_comes_after_the_last_image(tmp_path, image):
    archive = tmp_path / "a.tar.gz"
    content = bytearray(gzip.compress(tar(tmp_path / "a.tar", {"a.png": image}).read_bytes()))
    content[-8] ^= 1
    archive.write_bytes(content)
    with pytest.raises(PretrainError, match="cannot be unpacked: CRC check failed"):
        unpack(archive, tmp_path / "out")
    assert left(tmp_path / "out") == []


def test_a_wrong_checksum_of_a_zips_member_is_noticed(tmp_path, image):
    archive = zipped(tmp_path / "a.zip", {"a.png": image})
    content = bytearray(archive.read_bytes())
    content[60] ^= 1
    archive.write_bytes(content)
    with pytest.raises(PretrainError, match="cannot be unpacked: Bad CRC-32"):
        unpack(archive, tmp_path / "out")


def test_members_that_share_bytes_are_refused(tmp_path, image):
    archive = zipped(tmp_path / "a.zip", {"a.png": image, "b.png": image})
    content = bytearray(archive.read_bytes())
    second = content.rfind(b"PK\1\2")
    struct.pack_into("<L", content, second + 42, 0)  # where it begins: with the first
    archive.write_bytes(content)
    with pytest.raises(PretrainError, match="its members overlap"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize("cut", [512 * 3, 512 * 3 + 100])
def test_a_tar_cut_at_the_border_of_a_member_is_noticed(tmp_path, cut):
    archive = tar(tmp_path / "a.tar", {"a.png": bytes(600), "b.png": bytes(600)})
    archive.write_bytes(archive.read_bytes()[:cut])
    with pytest.raises(PretrainError, match="cut off or damaged before byte 1,"):
        unpack(archive, tmp_path / "out")


def test_what_follows_the_end_of_a_tar_is_said(tmp_path, image):
    one, two = (tar(tmp_path / name, {f"{name}.png": image}).read_bytes() for name in "ab")
    (tmp_path / "both.tar").write_bytes(one + two)
    found = unpack(tmp_path / "both.tar", tmp_path / "out")
    assert names(found.folder) == ["a.png"]
    assert "parts after the archive's end 1" in found.note


def sparse(path: Path, size: int, image: bytes) -> Path:
    """A tar with an image and a sparse member: `size` bytes, none of them there."""
    info = tarfile.TarInfo("big.png")
    info.type = tarfile.GNUTYPE_SPARSE
    header = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    header[483:495] = f"{size:011o}\0".encode()
    header[148:156] = b" " * 8
    header[148:156] = f"{sum(header):06o}\0 ".encode()
    path.write_bytes(bytes(header) + tar(path, {"a.png": image}).read_bytes())
    return path


def test_a_member_that_takes_no_room_and_claims_gigabytes_is_left_out(tmp_path, image):
    found = unpack(sparse(tmp_path / "a.tar", 8**11 - 1, image), tmp_path / "out")
    assert names(found.folder) == ["a.png"]
    assert "sparse files 1" in found.note


@pytest.mark.timeout(30)
@pytest.mark.parametrize("digits", [b"", b"1" * 40_000])
def test_a_header_that_claims_gigabytes_or_is_all_digits_is_refused(tmp_path, digits):
    info = tarfile.TarInfo("a")
    info.type, info.size = tarfile.XHDTYPE, len(digits) or 8 << 30
    block = info.tobuf(tarfile.USTAR_FORMAT if digits else tarfile.GNU_FORMAT)
    (tmp_path / "a.tar").write_bytes(block + digits + bytes(100_000))
    with pytest.raises(PretrainError, match=r"headers have more than 65,536|thousand digits"):
        unpack(tmp_path / "a.tar", tmp_path / "out")


@pytest.mark.timeout(30)
def test_an_archive_that_is_a_pipe_or_a_device_is_refused(tmp_path):
    os.mkfifo(tmp_path / "a.zip")
    (tmp_path / "b.tar").symlink_to("/dev/zero")
    for name, kind in (("a.zip", "a named pipe"), ("b.tar", "a device")):
        with pytest.raises(PretrainError, match=f"{name} cannot be unpacked: .*{kind}"):
            unpack(tmp_path / name, tmp_path / "out")


def test_an_archive_is_what_its_first_bytes_say(tmp_path, image):
    zipped(tmp_path / "a.tar", {"a.png": image})
    tar(tmp_path / "b.tar", {"b.png": image}, "w:xz")
    assert names(unpack(tmp_path / "a.tar", tmp_path / "out").folder) == ["a.png"]
    assert names(unpack(tmp_path / "b.tar", tmp_path / "out").folder) == ["b.png"]
