# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What tools/pretrain.py refuses: one message, word by word the page's, and nothing is lost."""

import re
from contextlib import ExitStack
from pathlib import Path

import pytest

from ..pretraining.folder import draw
from .bad_input import BAD_INPUT, Scene
from .command import FAST, refused
from .page import HOME, table

TITLE = "What stops it before it starts"
# What differs from run to run: the measured figures with the batch that does not fit, who holds the
# folder, and the order of a set of names.
VARYING = re.compile(
    r"(?<=batch of )\d+|[\d.]+ [kM]B(?= an image)|[\d.]+(?= [MG]B)|(?<=so )\d+(?= at most)"
    r"|(?<=process )\d+(?: on [^:]+)?|{.*}"
)
MAY_BE_NEW = (
    *("options.json", "scan.jsonl", "scan.txt", "files.txt", "digests.txt", ".pretrain.lock"),
)


def _files(folder: Path) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_names_every_case():
    assert [row[0] for row in table(TITLE)] == list(BAD_INPUT)


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_gets_the_message_of_the_page_and_nothing_is_lost(
    name, finished, tool, monkeypatch, capsys, tmp_path
):
    monkeypatch.chdir(tmp_path)
    draw(tmp_path / "photos", 9)
    with ExitStack() as held:
        unlike = BAD_INPUT[name](Scene(tmp_path, tool, monkeypatch, held, finished[0]))
        capsys.readouterr()
        before = _files(tmp_path)
        fast = dict(zip(FAST[::2], FAST[1::2], strict=True))
        options = {"--data": "photos", "--out": "run", **fast, **unlike}
        printed = refused(
            tool, monkeypatch, capsys, *(word for pair in options.items() for word in pair)
        )
    [message] = re.findall(r"^error: (.*)\Z", printed, re.DOTALL | re.M)
    message = message.strip().replace(str(tmp_path), HOME)
    expected = dict(table(TITLE))[name].strip("`").replace("`<br>`", "\n")
    assert VARYING.sub("?", message) == VARYING.sub("?", expected)
    after = _files(tmp_path)
    kept = {path for path in before if not path.endswith(".jsonl")}  # the scan adds what it saw
    assert {path: after[path] for path in kept} == {path: before[path] for path in kept}
    new = {str(Path(path).relative_to(tmp_path)) for path in after.keys() - before.keys()}
    assert new <= {f"run/{name}" for name in MAY_BE_NEW}
