# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Only a regular file of a bearable size is opened, and nothing is waited for."""

import os
import socket

import pytest

from xmoco_plugin.untrusted import FileRefusedError, open_regular, read_regular


def pipe(path):
    os.mkfifo(path)


def listening(path):
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(path))


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (pipe, "not a regular file: a named pipe"),
        (listening, "not a regular file: a socket"),
        (lambda path: path.mkdir(), "not a regular file: a folder"),
        (lambda path: path.symlink_to("/dev/zero"), "not a regular file: a device"),
        (lambda path: path.symlink_to(path.name), "symbolic links"),
        (lambda path: path.symlink_to("elsewhere"), "a link to a file that does not exist"),
        (lambda path: None, "no such file"),
    ],
)
@pytest.mark.timeout(10)
def test_what_is_no_file_is_named_and_never_waited_for(tmp_path, make, reason):
    make(tmp_path / "x.jpg")
    with pytest.raises(FileRefusedError, match=reason):
        open_regular(tmp_path / "x.jpg")


def test_a_file_is_read_through_a_link(tmp_path):
    (tmp_path / "a").write_bytes(b"12345")
    (tmp_path / "b").symlink_to("a")
    assert read_regular(tmp_path / "b", limit=5) == b"12345"


def test_a_large_file_is_refused_before_it_is_opened(tmp_path):
    with open(tmp_path / "x", "wb") as file:
        file.truncate(60 << 30)
    with pytest.raises(FileRefusedError, match=r"64\.4 GB, the limit is 1\.0 MB"):
        read_regular(tmp_path / "x", limit=1_000_000)


def test_a_name_with_a_nul_is_refused():
    with pytest.raises(FileRefusedError, match="no name of a file"):
        open_regular("a\0b")
