# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A run that was stopped because it became worse: the same command does not train on by itself."""

import torch

from xmoco_plugin.pretraining import RunLock


def test_a_stopped_run_is_left_as_it_is_and_the_way_on_is_named(
    tool, monkeypatch, capsys, tmp_path
):
    (tmp_path / "stopped.txt").write_text(
        "stopped at epoch 1 of 4: worse than it began: 92 -> 87\n"
    )
    monkeypatch.setattr(tool.processes, "command", lambda *_: ["false"])
    with RunLock(tmp_path) as lock:
        assert tool.train(tmp_path, 4, 1, lock) == 0
        assert capsys.readouterr().out == (
            "stopped at epoch 1 of 4: worse than it began: 92 -> 87\n"
            "The same command with --keep-going trains on.\n"
        )
        (tmp_path / "stopped.txt").unlink()
        assert tool.train(tmp_path, 4, 1, lock) == 1  # trained, by what the test put there


def test_the_end_shows_the_checkpoints_and_says_which_was_handed_over(tool, capsys, tmp_path):
    tool.end.show_weights(tmp_path)
    assert capsys.readouterr().out == ""  # of a run begun before there was such a table
    (tmp_path / "weights.jsonl").write_text(
        '{"epoch": 0, "iter": 0, "knn": 92.0, "handed_over": true}\n'
        '{"epoch": 1, "iter": 4, "knn": 87.0, "points": -5.0, "error": 1.6, '
        '"verdict": "too early"}\n'
    )
    meta = dict(source="start.pth", why="the weights that the run began with, kNN 92.0 %")
    torch.save({"state_dict": {}, "meta": meta}, tmp_path / "backbone.pth")
    tool.end.show_weights(tmp_path)
    _, header, start, first, said = capsys.readouterr().out.splitlines()
    assert header.split()[:2] == ["epoch", "kNN"]
    assert start.split() == ["0", "92.0", "the", "start", "yes"]
    assert first.split() == ["1", "87.0", "-5.0", "±", "1.6", "too", "early"]
    assert said == ("backbone.pth holds start.pth: the weights that the run began with, kNN 92.0 %")
