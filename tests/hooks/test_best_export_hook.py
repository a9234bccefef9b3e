# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which of all checkpoints is handed over, the start included, and what is written of each."""

import pytest
import torch
from mmengine.hooks import Hook

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.hooks import best_export_hook
from xmoco_plugin.hooks.fixed_look import nearest, neighbours_kept
from xmoco_plugin.hooks.health_hook import VERDICT

from .start_run import build, lines
from .summary_run import read


def record(folder):
    return read_checkpoint(folder / "backbone.pth")["meta"]


def weights(file):
    state = read_checkpoint(file)["state_dict"]
    return {key: value for key, value in state.items() if key.startswith("backbone.")}


def same(one, two) -> bool:
    return one.keys() == two.keys() and all(torch.equal(one[key], two[key]) for key in one)


class Say(Hook):
    """A verdict in the place of HealthHook's, from an epoch on."""

    def __init__(self, word, epoch=1):
        self.word, self.epoch = word, epoch

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.say(runner)

    def after_val_epoch(self, runner, metrics=None):
        self.say(runner)

    def after_train(self, runner):
        self.say(runner)

    def say(self, runner):
        if runner.epoch >= self.epoch:
            said = dict(epoch=runner.epoch, iter=runner.iter, verdict=self.word, reason="told")
            runner.message_hub.update_info(VERDICT, said)


def test_a_run_that_only_gets_worse_hands_over_the_weights_that_it_began_with(tmp_path):
    runner = build(tmp_path, [12, 11, 10], stop=False)
    first = {f"backbone.{k}": v.clone() for k, v in runner.model.backbone.state_dict().items()}
    runner.train()
    assert same(weights(tmp_path / "backbone.pth"), first)
    assert same(weights(tmp_path / "start.pth"), first)
    assert not same(weights(tmp_path / "epoch_2.pth"), first)
    meta = record(tmp_path)
    assert (meta["source"], meta["epoch"], meta["knn"]) == ("start.pth", 0, 75.0)
    assert (meta["began"], meta["start_knn"]) == ("pretrained", 75.0)
    assert "no later checkpoint beat them by more than one standard error" in meta["why"]
    assert [line["handed_over"] for line in lines(tmp_path)] == [True, False, False]
    assert lines(tmp_path)[2]["why"] == (
        "kNN 75.0 % -> 62.5 %, -12.5 ± 8.8 points (16 queries) since the start"
    )


def test_a_run_that_improves_hands_over_the_best_and_not_the_last(tmp_path):
    build(tmp_path, [8, 12, 14, 13]).train()
    meta = record(tmp_path)
    assert (meta["source"], meta["knn"], meta["start_knn"]) == ("epoch_2.pth", 87.5, 50.0)
    assert same(weights(tmp_path / "backbone.pth"), weights(tmp_path / "epoch_2.pth"))
    assert "the highest kNN so far: 50.0 % -> 87.5 %, +37.5 ± 15.3 points" in meta["why"]
    assert "is below the 87.5 % of epoch_2.pth" in lines(tmp_path)[3]["why"]


def test_one_more_right_answer_is_no_proof_against_good_weights_but_enough_against_random_ones(
    tmp_path,
):
    for pretrained, source in ((True, "start.pth"), (False, "epoch_1.pth")):
        build(tmp_path / str(pretrained), [12, 13], pretrained).train()
        assert record(tmp_path / str(pretrained))["source"] == source


def test_random_weights_are_handed_over_only_where_all_is_worse_and_are_called_random(tmp_path):
    build(tmp_path, [12, 8], pretrained=False).train()
    assert record(tmp_path)["why"].startswith("the random weights that the run began with, kNN 75")


def test_what_collapses_is_not_handed_over_however_high_its_knn(tmp_path):
    runner = build(tmp_path, [4, 16])
    runner.register_hook(Say("collapsing"), priority="BELOW_NORMAL")
    runner.train()
    assert record(tmp_path)["source"] == "start.pth"
    assert lines(tmp_path)[1]["why"] == "it is collapsing"


@pytest.mark.parametrize(
    ("pretrained", "word", "source"),
    [
        (True, "not learning", "start.pth"),
        (True, "learning", "epoch_1.pth"),
        (False, "not learning", "epoch_1.pth"),
    ],
)
def test_without_labels_the_latest_that_is_fit_is_handed_over_with_a_warning(
    tmp_path, pretrained, word, source
):
    runner = build(tmp_path, None, pretrained, epochs=1)
    runner.register_hook(Say(word), priority="BELOW_NORMAL")
    runner.train()
    meta = record(tmp_path)
    assert meta["source"] == source
    assert "knn" not in meta
    warned = "not known whether it is better than what the run began with" in meta["why"]
    assert warned == (source != "start.pth")


def test_random_weights_of_a_run_without_labels_are_not_handed_over(tmp_path):
    runner = build(tmp_path, None, pretrained=False, epochs=1)
    runner.register_hook(Say("collapsing"), priority="BELOW_NORMAL")
    runner.train()
    assert not (tmp_path / "backbone.pth").exists()


def test_the_start_and_each_checkpoint_have_figures_without_labels(tmp_path):
    build(tmp_path, [8, 12]).train()
    start, after = lines(tmp_path)
    assert (start["epoch"], start["iter"], after["epoch"], after["iter"]) == (0, 0, 1, 4)
    assert start["values"]["neighbours_kept"] == 1.0
    for line in (start, after):
        assert 1 <= line["values"]["backbone_rank"] <= 16
        assert 0 <= line["values"]["backbone_alignment"] <= 4
    assert after["points"] == 25.0
    summary = read(tmp_path)
    assert summary["handed_over"].startswith("backbone.pth: epoch_1.pth, the highest kNN so far")
    assert summary["figures"].startswith("effective rank ")


def test_a_resumed_run_knows_how_it_began_and_what_was_best(tmp_path):
    build(tmp_path, [8, 14]).train()
    build(tmp_path, [8, 14, 12], resume=True).train()
    assert record(tmp_path)["source"] == "epoch_1.pth"
    third = lines(tmp_path)[2]
    assert (third["epoch"], third["points"], third["error"]) == (2, 25.0, 12.5)  # 4 of 16 won
    assert third["values"]["neighbours_kept"] <= 1
    build(tmp_path, [8, 14, 12, 16], resume=True).train()
    assert record(tmp_path)["source"] == "epoch_3.pth"
    assert [line["epoch"] for line in lines(tmp_path)] == [0, 1, 2, 3]


def test_a_new_run_in_an_old_folder_begins_its_list_anew(tmp_path):
    build(tmp_path, [8, 14]).train()
    build(tmp_path, [8, 6], pretrained=False).train()
    assert [line.get("knn") for line in lines(tmp_path)] == [50.0, 37.5]


def test_neighbours_kept_is_the_share_of_the_old_neighbours():
    before, now = torch.tensor([[1, 2], [0, 2]]), torch.tensor([[2, 3], [2, 0]])
    assert neighbours_kept(before, now) == 0.75
    line = torch.tensor([[1.0, 0.0], [0.8, 0.6], [0.0, 1.0]])
    assert nearest(line, 1).flatten().tolist() == [1, 0, 1]


def test_weights_to_which_all_images_look_alike_are_told_with_both_ranks():
    said = best_export_hook._alike(
        {"start": {"backbone_rank": 10.0}, "end": {"backbone_rank": 1.0}}
    )
    assert "all images look alike to it (effective rank 10.0 -> 1.0)" in said
    for start, end in ((10.0, 3.0), (2.5, 1.0), (10.0, float("nan"))):
        figures = {"start": {"backbone_rank": start}, "end": {"backbone_rank": end}}
        assert best_export_hook._alike(figures) == ""
    assert best_export_hook._alike({}) == ""
