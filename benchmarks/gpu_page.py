# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What gpu_run.sh found, as markdown, and its figures in the places that the docs keep for them."""

import re
from collections.abc import Iterator
from typing import Any

# <!-- gpu:NAME -->what stands there until there is a figure<!-- /gpu:NAME -->
PLACE = re.compile(r"(<!-- gpu:([a-z-]+) -->)(.*?)(<!-- /gpu:\2 -->)", re.DOTALL)
WHOLE = "pages"  # the place that takes all tables
FAST = "ours, all (fast)"
AHEAD = "ours, fast, next batch ahead"
Record = dict[str, Any]


def table(rows: list[dict]) -> str:
    """Rows as markdown, a table for each run of rows with the same first column."""
    runs: list[list[dict]] = []
    for row in rows:
        if not runs or next(iter(runs[-1][0])) != next(iter(row)):
            runs.append([])
        runs[-1].append(row)
    return "\n".join(_table(run) for run in runs)


def _table(rows: list[dict]) -> str:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = ["| " + " | ".join(columns) + " |", "|" + " --- |" * len(columns)]
    for row in rows:
        lines.append("| " + " | ".join(_cell(row.get(c)) for c in columns) + " |")
    return "\n".join(lines) + "\n"


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:,.3g}" if abs(value) < 100 else f"{value:,.0f}"
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    return str(value).replace("|", "\\|").replace("\n", " ")


def page(record: Record) -> str:
    """The whole of a record."""
    title = "# What a GPU does with it, measured in one call"
    if record["rehearsal"]:
        title = "# A rehearsal on a CPU with tiny sizes: its figures say nothing"
    lines = [title, "", facts_line(record), ""]
    lines += [f"{record['seconds']:.0f} of {record['minutes'] * 60:.0f} s.", ""]
    cut = [f"{p['title']}: {p['status']}" for p in record["parts"] if p["status"] != "done"]
    lines += ["Cut off or failed: " + ("; ".join(cut) if cut else "nothing") + ".", ""]
    for part in record["parts"]:
        lines += [f"## {part['title']}", ""]
        lines += [f"{part['status']}, {part['seconds']:.0f} of {part['limit']:.0f} s.", ""]
        lines += [f"- {note}" for note in part["notes"]] + [""] * bool(part["notes"])
        if part["rows"]:
            lines.append(table(part["rows"]))
        if part["end"]:
            lines += ["```", *part["end"], "```", ""]
    return "\n".join(lines)


def facts_line(record: Record) -> str:
    """Machine, commit and versions."""
    parcel = record["parcel"]
    facts = {**record["machine"], "data": record["data"]}
    if parcel:
        facts["parcel"] = f"of commit {parcel['commit']}, {parcel['date']}"
    return ", ".join(f"{key} {value}" for key, value in facts.items() if value)


def merge(text: str, record: Record) -> str:
    """The docs' text with the record's figures in their places; the places stay, for the next one.

    Raises:
        ValueError: the record is of a rehearsal, or the text has no place.
    """
    if record["rehearsal"]:
        raise ValueError("this is a rehearsal on a CPU: its figures belong into no table")
    if not PLACE.search(text):
        raise ValueError("no place is marked there: <!-- gpu:NAME -->...<!-- /gpu:NAME -->")
    found = dict(figures(record))

    def fill(match: re.Match) -> str:
        start, name, old, end = match.groups()
        return start + found.get(name, old) + end

    return PLACE.sub(fill, text)


def figures(record: Record) -> Iterator[tuple[str, str]]:
    """Name of a place, and what the record says there; only what it has."""
    origin = f"({record['machine']['device']}, commit `{record['machine']['commit']}`)"
    parts = {part["name"]: part for part in record["parts"]}
    rows = {name: part["rows"] for name, part in parts.items()}
    for name, text in (
        *_of_tests(rows.get("tests", [])),
        *_of_steps(rows.get("step", []), rows.get("jpegs", [])),
        *_of_views(rows.get("views", [])),
        *_of_loss(rows.get("loss", [])),
        *_of_teacher(rows.get("teacher", [])),
        *_of_cifar(rows.get("cifar", [])),
    ):
        yield name, f"{text} {origin}"
    tables = page(record).partition("\n")[2].replace("\n## ", "\n#### ")
    yield WHOLE, "\n" + tables.strip() + "\n"


def _of_tests(rows: list[dict]) -> Iterator[tuple[str, str]]:
    if not rows:
        return
    failed = [row["test"].rpartition("::")[2] for row in rows if row["outcome"] == "failed"]
    passed = sum(row["outcome"] == "passed" for row in rows)
    names = f": {', '.join(failed)}" if failed else ""
    yield "tests", f"{passed} of {len(rows)} pass, {len(failed)} fail{names}"
    for place, words in (("sync", "nothing_synchronizes"), ("graphs", "five_steps_of_graphs")):
        mine = [row["outcome"] for row in rows if words in row["test"]]
        if mine:
            yield place, f"{mine.count('passed')} of {len(mine)} tests on a GPU pass"


def _rates(rows: list[dict], column: str, value: str = "images/s") -> dict[str, float]:
    return {row[column]: row[value] for row in rows if column in row and value in row}


def _of_steps(synthetic: list[dict], jpegs: list[dict]) -> Iterator[tuple[str, str]]:
    step, from_files = _rates(synthetic, "model"), _rates(jpegs, "way")
    ms = _rates(synthetic, "model", "ms")
    if {"ours", "ours, no terms"} <= ms.keys():
        yield "terms", f"on a GPU {ms['ours'] / ms['ours, no terms']:.3g}"
    if AHEAD in from_files:
        rate = from_files[AHEAD]
        words = [f"{rate:,.0f} images/s from JPEGs"]
        for name in ("mmpretrain", "mmpretrain AMP"):
            if name in from_files:
                words.append(f"{rate / from_files[name]:.3g} times {name}")
        if FAST in step:
            words.append(f"{100 * rate / step[FAST]:.0f} % of the rate on synthetic data")
        yield "step", "; ".join(words)
        row = next(row for row in jpegs if row.get("way") == AHEAD)
        yield "waits", f"{row['between steps %']:.3g} % of the time between steps"


def _of_views(rows: list[dict]) -> Iterator[tuple[str, str]]:
    rates = _rates(rows, "way")
    if "ours, float32" in rates:
        yield "views", "; ".join(f"{name} {rate:,.0f} images/s" for name, rate in rates.items())


def _of_loss(rows: list[dict]) -> Iterator[tuple[str, str]]:
    for row in rows:
        if (row.get("N"), row.get("K")) == (256, 65536) and "time ratio" in row:
            ours, theirs = row["chunks MB"], row["mmpretrain MB"]
            yield (
                "loss",
                f"N = 256, K = 65,536: {row['time ratio']:.3g} of mmpretrain's time "
                f"({row['its rounds']}), {ours / theirs:.3g} of its memory",
            )


def _of_teacher(rows: list[dict]) -> Iterator[tuple[str, str]]:
    said = []
    for row in rows:
        if "images/s" in row and ("training" in row or "step" in row):
            kind = "training" if "training" in row else "step"
            said.append(f"{row['teacher']}, {kind}, {row[kind]}: {row['images/s']:,.0f} images/s")
    if said:
        yield "teacher", "; ".join(said)


def _of_cifar(rows: list[dict]) -> Iterator[tuple[str, str]]:
    for row in rows:
        if "epochs/min" in row:
            minutes = next(v for k, v in row.items() if "extrapolated" in k)
            yield (
                "cifar",
                f"{row['run of']}: {row['epochs/min']:.3g} epochs/min, {minutes:.3g} minutes for "
                f"200 epochs, extrapolated from {row['epochs']}",
            )
