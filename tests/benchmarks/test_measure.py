# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the benchmarks' reports say is honest; how long anything takes is not tested."""

import json
import subprocess
import sys
from argparse import Namespace

import numpy as np
import pytest

from .command import BENCHMARKS

FACTS = dict(processor="p", cores=2, device="cpu", threads=1, commit="c0ffee")


def test_a_report_is_written_as_json_and_table_and_compares_with_an_earlier_one(
    load, tmp_path, capsys
):
    measure = load("measure")
    rows = [dict(way="a", rate=12.345), dict(way="b", rate=1234.5, more=1)]
    measure.report("Title", rows, FACTS, Namespace(out=tmp_path / "x", against=None))
    record = json.loads((tmp_path / "x.json").read_text())
    assert (record["rows"], record["environment"]) == (rows, FACTS)
    table = (tmp_path / "x.md").read_text()
    assert "| a | 12.3 | - |" in table
    assert "| b | 1,234 | 1 |" in table
    measure.report("Title", rows, FACTS, Namespace(out=None, against=tmp_path / "x.json"))
    assert "Earlier, commit c0ffee" in capsys.readouterr().out


@pytest.mark.parametrize("key", ["processor", "cores", "device", "threads"])
def test_runs_of_different_machines_are_not_compared(load, tmp_path, key):
    measure = load("measure")
    measure.report("Title", [], FACTS, Namespace(out=tmp_path / "x", against=None))
    with pytest.raises(ValueError, match=rf"other {key} \({FACTS[key]}, now else\)"):
        measure.report(
            "Title", [], {**FACTS, key: "else"}, Namespace(out=None, against=tmp_path / "x.json")
        )


def test_functions_take_turns_and_the_first_round_does_not_count(load):
    calls = []
    ways = {name: lambda name=name: calls.append(name) for name in "ab"}
    assert list(load("measure").alternate(ways, repeats=2)) == ["a", "b"]
    assert calls == ["a", "b"] * 3


def test_a_ratio_is_taken_round_by_round_and_shows_its_spread(load):
    measure = load("measure")
    # Twice as slow in the median round of a machine that slows down: the medians alone say 1.
    own, other = measure.Seconds([2.0, 4.0, 40.0]), measure.Seconds([1.0, 4.0, 10.0])
    assert (own, other) == (4.0, 4.0)
    assert measure.ratio(own, other) == (2.0, "1 to 4")


PEAK = """
import sys
sys.path.insert(0, sys.argv[1])
import numpy as np
from measure import peak_memory

def prepare():
    kept = np.ones(10**7, np.uint8)
    return lambda: np.ones(4 * 10**7, np.uint8).sum() + kept[0]

print(peak_memory(prepare))
"""


def test_peak_memory_is_what_a_function_needs_beyond_its_inputs():
    # In a process of its own: one that has run other tests may hold free memory, or lose some.
    command = [sys.executable, "-c", PEAK, str(BENCHMARKS)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert 3.9e7 < int(done.stdout.split()[-1]) < 5e7


def test_exponents_are_those_of_a_power_law_and_noise_shows_in_their_error(load):
    fit = load("growth").fit
    assert fit([2, 4, 8], [3 * x**1.5 for x in (2, 4, 8)]) == pytest.approx((1.5, 0), abs=1e-9)
    exponent, error = fit([1, 10, 100], [1, 20, 100])
    assert exponent == pytest.approx(1)
    # Residuals of the logarithms to base 10: -a, 2a, -a with a = log10(2) / 3.
    assert error == pytest.approx(np.log10(2) / 3 * np.sqrt(6 / 2))
