# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a learning rate is judged on: images of the training set, by whatever loaders there are."""

import argparse
import math

import pytest
from mmengine.config import Config

from xmoco_plugin.cli import learning_rates, share_runs
from xmoco_plugin.cli.share_results import Run, Start


def test_a_fine_tuning_without_validation_is_judged_by_its_test_alone(tmp_path):
    trained = dict(data_root="D", ann_file="train.json", data_prefix=dict(img="train"))
    judged = dict(data_root="E", ann_file="val.json", data_prefix=dict(img="val"))
    cfg = Config(
        dict(
            train_dataloader=dict(dataset=trained),
            val_dataloader=None,
            val_evaluator=None,
            test_dataloader=dict(dataset=judged),
            test_evaluator=dict(type="CocoMetric", ann_file="val.json"),
        )
    )
    listed = tmp_path / "held_out.json"
    learning_rates._judge_on(cfg, listed)
    assert cfg.val_dataloader is None
    assert cfg.test_dataloader.dataset == trained | dict(ann_file=str(listed))
    assert cfg.test_evaluator.ann_file == str(listed)


def start(name: str) -> Start:
    return Start(*[name, *[""] * (len(Start._fields) - 1)])


def test_rates_near_the_best_are_tried_again_and_only_they():
    close = learning_rates.close
    assert close({0.3: {0: 9.7}, 1.0: {0: 32.1}, 3.0: {0: 31.7}}) == [1.0, 3.0]
    assert close({0.3: {0: math.nan}, 1.0: {0: 18.1}, 3.0: {0: 23.7}}) == []  # one is the best
    assert close({1.0: {0: math.nan}, 3.0: {0: math.nan}}) == []
    assert close({1.0: {0: 0.0}, 3.0: {0: 0.0}}) == []  # nothing learnt is not near


def test_the_mean_of_the_seeds_decides_and_a_rate_that_is_as_good_is_told():
    found = {
        start("old"): {1.0: {0: 32.1, 1: 28.0, 2: 30.0}, 3.0: {0: 31.7, 1: 33.0, 2: 27.0}},
        start("new"): {1.0: {0: 34.0, 1: 33.0, 2: 33.5}, 3.0: {0: 31.0, 1: 30.0, 2: 30.4}},
    }
    best, said = learning_rates.best_factors(found)
    assert [best[s] for s in found] == [3.0, 1.0]  # means 30.6 against 30.0, 30.5 against 33.5
    assert "old: 3 times the config's rate (1: 30.0 in 3 seeds, 3: 30.6 in 3 seeds)" in said
    doubts = [text for text in said if "not told apart" in text]
    assert [text.split(":")[1].strip() for text in doubts] == ["old"]
    assert "To compare all at one: --rates 1 in another --work-dir." in doubts[0]


def test_a_rate_of_one_trial_is_not_taken_over_those_of_several():
    found = {start("a"): {1.0: {0: 30.0, 1: 20.0, 2: 20.0}, 3.0: {0: 29.0, 1: 21.0, 2: 24.0}}}
    found[start("a")][0.3] = {0: 26.0}  # the first seed's images are easy
    assert learning_rates.best_factors(found)[0] == {start("a"): 3.0}


def test_equal_figures_are_not_told_apart():
    same = {0: 30.0, 1: 31.0, 2: 32.0}
    found = {start("a"): {1.0: same, 3.0: same}, start("b"): {1.0: {0: 9.0}, 3.0: {0: 30.0}}}
    said = learning_rates.best_factors(found)[1]
    assert any(text.startswith("warning: a: 3 times is not told apart from 1.") for text in said)


def test_a_rate_beyond_the_best_is_tried_in_the_step_of_the_last_two():
    beyond = learning_rates.beyond
    assert beyond({0.3: {0: 9.7}, 1.0: {0: 14.8}, 3.0: {0: 27.5}}) == [9.0]
    assert beyond({0.3: {0: 9.7}, 1.0: {0: 9.0}, 3.0: {0: math.nan}}) == [0.09]
    assert beyond({0.3: {0: 9.7}, 1.0: {0: 14.8}, 3.0: {0: 14.7}}) == []
    assert beyond({1.0: {0: math.nan}, 3.0: {0: math.nan}}) == []  # none taught anything
    assert beyond({0.1: {0: 5.0}, 1.0: {0: 5.0}, 10.0: {0: 5.0}}) == []  # the nearest to 1


def test_rates_beyond_the_given_ones_end_where_the_best_lies_between(monkeypatch, tmp_path):
    worth = {0.3: 5.0, 1.0: 10.0, 3.0: 20.0, 9.0: 30.0, 27.0: 25.0, 81.0: 40.0}
    asked = []

    def runs(args, root, starts, data, seed, wanted):
        asked.append({one.name: list(factors) for one, factors in wanted.items()})
        return [
            learning_rates.Trial(factor, (one, factor))
            for one, factors in wanted.items()
            for factor in factors
        ]

    def figures(trials, task):
        found = {}
        for factor, (one, _) in trials:
            value = worth[factor] if one.name == "rising" else -abs(factor - 1)
            found.setdefault(one, {})[factor] = {0: value}
        return found

    monkeypatch.setattr(learning_rates, "rate_runs", runs)
    monkeypatch.setattr(learning_rates, "results", figures)
    monkeypatch.setattr(learning_rates.share_runs, "run_all", lambda *args: None)
    args = argparse.Namespace(rates=None, seeds=[0], task="det")
    starts = {start("rising"): [], start("level"): []}
    best, said = learning_rates.find(args, tmp_path, starts, None)
    assert {one.name: factor for one, factor in best.items()} == {"rising": 9.0, "level": 1.0}
    assert asked[1] == {"rising": [9.0], "level": []}
    assert asked[2] == {"rising": [27.0], "level": []}
    assert len(asked) == 3
    args.rates = [0.3, 1.0, 3.0]  # given ones are taken as they are
    best, said = learning_rates.find(args, tmp_path, starts, None)
    assert best[start("rising")] == 3.0
    assert any("rising: the largest rate tried is the best" in text for text in said)
    assert len(asked) == 4


def test_a_run_that_diverges_has_no_result_and_ends_no_comparison(monkeypatch, tmp_path, capsys):
    cfg = Config(dict(optim_wrapper=dict(optimizer=dict(lr=0.09))))
    run = Run(start("a"), 100.0, 0, [0], cfg, tmp_path / "x9" / "seed_0")
    data = argparse.Namespace(names=["one"])
    args = argparse.Namespace(work_dir=tmp_path, gpus=1, extra=[])
    log = run.folder / "20200101_000000" / "vis_data" / "scalars.json"
    ends, calls, after = {}, [], []

    def train(*_):
        calls.append(1)
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text('{"loss": 2.5, "iter": 20}\n{"loss": ' + ends["loss"] + ', "iter": 40}\n')
        raise SystemExit(ends["status"])

    monkeypatch.setattr(share_runs.transfer, "run_seed", train)
    every = [run], args, lambda: after.append(1)
    for loss, status in (("1.0", 2), ("NaN", 130)):  # another error, and who was stopped
        ends |= dict(loss=loss, status=status)
        with pytest.raises(SystemExit):
            share_runs.run_all(data, *every)
        log.unlink()
    assert share_runs.without_result([run]) == []
    ends |= dict(loss="Infinity", status=2)
    share_runs.run_all(data, *every)
    assert "The rate 0.09 is too large: the run diverged." in capsys.readouterr().out
    share_runs.run_all(data, *every)  # it is not tried again
    assert (len(calls), after) == (3, [])
    assert "1 of 1 runs diverged" in share_runs.without_result([run])[0]
    assert "a, 100 %, seed 0" in share_runs.without_result([run])[0]
    trials = [learning_rates.Trial(9.0, run)]
    assert math.isnan(learning_rates.results(trials, "det")[run.start][9.0][0])
