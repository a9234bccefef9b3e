# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A comparison of starts in the page: said, shown and drawn, from a file that may be anybody's."""

import json
import re
from pathlib import Path

import pytest

from ...tool_modules import import_tool, run_tool
from .made_runs import step, write_scalars
from .parsed_page import ParsedPage

VERDICT = "mine against scratch: with 25 % of the labels mine is better by 4.0 AP (2.2 to 5.8)."


def row(start: str, share: float, values: list[float], **more) -> dict:
    seeds = list(range(len(values)))
    metrics = {"AP": dict(values=values), "AP50": dict(values=[2 * v for v in values])}
    place = dict(sha256="0123abcd", images=6, iterations=600, learning_rate=0.02)
    return dict(start=start, share_percent=share, seeds=seeds, metrics=metrics, **place) | more


CONTENT = dict(
    task="det",
    config="configs/detection/small.py",
    rows=[
        row("scratch", 25, [10.0, 12.0]),
        row("scratch", 100, [20.0, 22.0], doubts={"1": "no box above the threshold"}),
        row("mine", 25, [14.0, 16.0]),
        row("mine", 100, [20.0, 22.0]),
    ],
    differences=[dict(other="scratch", share=25, mean=4.0, low=2.2, high=5.8, values=[4.0, 4.0])],
    verdicts=[VERDICT],
    learning_rates=["mine: 3 times the config's rate"],
)


def write(folder: Path, content: object, name: str = "compare.json") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_text(json.dumps(content))
    return folder


def page(monkeypatch, *folders: Path) -> ParsedPage:
    assert run_tool(import_tool("report"), monkeypatch, *folders) == 0
    return ParsedPage(folders[0] / "report.html")


def test_the_folder_of_a_comparison_gives_its_verdict_its_table_and_its_plot(tmp_path, monkeypatch):
    found = page(monkeypatch, write(tmp_path / "small", CONTENT))
    assert found.faults == []
    ids = found.values("id")
    assert len(ids) == len(set(ids))
    figures = {"comparison-0-verdict", "comparison-0-table", "comparison-0-plot"}
    assert figures < set(ids)
    assert {"verdicts", "config", "environment"} & set(ids) == set()  # of a run, and there is none
    assert {ref[1:] for ref in found.values("href") if ref.startswith("#")} <= set(ids)
    assert VERDICT in found.words
    assert "scratch 0123abcd 25 6 600 0.02 2 11.00 ± 1.41 22.00 ± 2.83" in found.words
    assert "21.00 ± 1.41 *" in found.words
    assert "* scratch, 100 %, seed 1: no box above the threshold." in found.words
    assert "scratch 25 +4.00 +2.20 to +5.80 +4.00, +4.00" in found.words
    assert "Learning rates: mine: 3 times the config's rate." in found.words
    (svg,) = (s for s in found.of("svg") if "by share of the labels" in s["aria-label"])
    assert svg["role"] == "img"
    drawn = found.text[found.text.index('id="comparison-0-plot"') :]
    for text in ("scratch", "mine", "25 %", "100 %", "AP, %"):
        assert f">{text}<" in drawn


def test_a_comparison_stands_beside_runs_and_one_of_few_labels_has_no_verdict(
    tmp_path, monkeypatch
):
    write_scalars(tmp_path / "run", "20260101_000000", [step(i, 5.0 - i) for i in (1, 2)])
    few = {key: CONTENT[key] for key in ("task", "config", "rows")}
    write(tmp_path / "few", few, "few_labels.json")
    compared = write(tmp_path / "small", CONTENT)
    found = page(monkeypatch, tmp_path / "run", compared, tmp_path / "few")
    ids = found.values("id")
    assert {"curve-loss", "verdicts", "comparison-0-plot", "comparison-1-plot"} <= set(ids)
    assert "comparison-0-verdict" in ids
    assert "comparison-1-verdict" not in ids


def test_what_a_strangers_comparison_says_is_text_and_what_is_no_figure_is_left_out(
    tmp_path, monkeypatch
):
    script = "<script>alert(1)</script>"
    odd = {"AP": dict(values=[1.0, None, 1e300, "x"]), script: 7}
    bad = [7, None, row(script, 25, [], doubts={script: script}, metrics=odd)]
    bad += [row("no share", 0, [1.0]), dict(row("$x_", 50, [3.0]), images="many", seeds=3)]
    content = CONTENT | dict(rows=bad, verdicts=[script, 3], config=script, differences=[1, {}])
    found = page(monkeypatch, write(tmp_path / "small", content | dict(learning_rates=[script])))
    assert found.faults == []
    assert found.of("script") == []
    assert found.words.count("alert(1)") > 3
    assert "no share" not in found.words
    assert not re.search(r"https?://(?!www\.w3\.org)", found.text)


@pytest.mark.parametrize(
    ("content", "message"),
    [("[1]", "a list, not an object"), ("{}", "holds no results"), ("{", "no JSON")],
)
def test_a_comparison_that_cannot_be_read_ends_with_one_message(
    tmp_path, monkeypatch, capsys, content, message
):
    folder = tmp_path / "small"
    folder.mkdir()
    (folder / "compare.json").write_text(content)
    assert run_tool(import_tool("report"), monkeypatch, folder) == 2
    told = capsys.readouterr().err
    assert message in told
    assert "The same xmoco command again writes it anew" in told
    assert not (folder / "report.html").exists()
