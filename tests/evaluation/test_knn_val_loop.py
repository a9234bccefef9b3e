# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import logging

import numpy as np
import pytest
import torch
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS
from sklearn.neighbors import KNeighborsClassifier

from xmoco_plugin.evaluation.knn_val_loop import knn_settings

from ..tiny_runner import QuietRunner
from .toy import ToyColours, build_runner, loader, runner_config


@HOOKS.register_module(force=True)
class CallRecorder(Hook):
    """Every call of a validation or test hook, in order; and what the metrics were."""

    calls: list[str] = []

    def __getattribute__(self, name: str):
        value = super().__getattribute__(name)
        if not name.startswith(("before_val", "after_val", "before_test", "after_test")):
            return value

        def record(*args, **kwargs):
            CallRecorder.calls.append(f"{name}({', '.join(sorted(kwargs))})")
            return value(*args, **kwargs)

        return record


def scikit_accuracy(bank: np.ndarray, queries: np.ndarray, k: int, temperature: float) -> float:
    """Top-1 in percent on the toy set of 60 images and 50 queries."""
    judge = KNeighborsClassifier(
        k, metric="cosine", weights=lambda distance: np.exp((1 - distance) / temperature)
    )
    judge.fit(bank, ToyColours(60, 1).labels.numpy())
    return 100 * judge.score(queries, ToyColours(50, 2).labels.numpy())


class TestMetrics:
    def test_informative_features_win_and_constant_ones_score_chance(self, tmp_path):
        runner = build_runner(tmp_path / "informative")
        informative = runner.val()
        torch.nn.init.zeros_(runner.model.backbone.conv.weight)
        constant = runner.val()
        assert informative["accuracy/top1"] > 90
        assert constant["accuracy/top1"] == pytest.approx(
            runner.val_loop.largest_class_share(), abs=2
        )

    def test_accuracy_is_that_of_scikit_learn_on_the_same_features(self, tmp_path):
        noise = 350
        runner = build_runner(
            tmp_path,
            bank_dataloader=loader(60, seed=1, noise=noise),
            queries=loader(50, seed=2, noise=noise),
            temperature=0.1,
        )
        model = runner.model.eval()
        with torch.no_grad():
            bank, queries = (
                model.backbone((ToyColours(size, seed, noise=noise).images.float() - 128) / 64)[-1]
                .mean(dim=(2, 3))
                .numpy()
                for size, seed in ((60, 1), (50, 2))
            )
        expected = scikit_accuracy(bank, queries, 5, 0.1)
        assert 20 < expected < 100
        assert runner.val()["accuracy/top1"] == pytest.approx(expected)

    def test_further_settings_have_names_of_their_own(self, tmp_path):
        loop = build_runner(tmp_path, k=[5, 1], temperature=[0.07, None]).val_loop
        metrics = loop.run()
        tops = ("accuracy/top1", "accuracy/top3")
        names = ("", "k5_majority/", "k1_T0.07/", "k1_majority/")
        assert list(metrics) == [name + top for name in names for top in tops]
        assert metrics["k1_T0.07/accuracy/top1"] == metrics["k1_majority/accuracy/top1"]
        assert not any("loss" in name for name in metrics)

    def test_a_further_setting_scores_what_it_scores_when_it_comes_first(self, tmp_path):
        sets = {
            "bank_dataloader": loader(60, seed=1, noise=450),
            "queries": loader(50, seed=2, noise=450),
        }
        both = build_runner(tmp_path / "a", k=[5, 30], temperature=None, **sets).val()
        first = build_runner(tmp_path / "b", k=30, temperature=None, **sets).val()
        assert both["k30_majority/accuracy/top1"] == first["accuracy/top1"]
        assert both["k30_majority/accuracy/top1"] != both["accuracy/top1"]

    def test_half_precision_and_small_chunks_leave_the_accuracy(self, tmp_path):
        plain = build_runner(tmp_path / "a").val()
        small = build_runner(
            tmp_path / "b", bank_dtype="float16", bank_device="cpu", bank_chunk=7, query_chunk=3
        ).val()
        assert small == plain

    def test_an_image_in_both_sets_finds_itself(self, tmp_path):
        same = loader(60, seed=1, noise=2500)
        metrics = build_runner(tmp_path, bank_dataloader=same, queries=same, k=1).val()
        assert metrics["accuracy/top1"] == 100

    def test_pixels_and_class_share_are_those_computed_apart(self, tmp_path):
        loop = build_runner(tmp_path, temperature=0.1).val_loop
        centred = [
            images.flatten(1).double() - images.flatten(1).double().mean(dim=1, keepdim=True)
            for images in (ToyColours(60, 1).images, ToyColours(50, 2).images)
        ]
        expected = scikit_accuracy(centred[0].numpy(), centred[1].numpy(), 5, 0.1)
        assert loop.raw_pixel_accuracy() == pytest.approx(expected)
        assert loop.largest_class_share() == 18.0  # 9 of 50 images


class TestEngine:
    @pytest.mark.parametrize("stage", ["val", "test"])
    def test_hooks_come_in_the_hosts_order(self, tmp_path, stage):
        CallRecorder.calls.clear()
        runner = QuietRunner(
            **runner_config(tmp_path, stage), custom_hooks=[{"type": "CallRecorder"}]
        )
        metrics = getattr(runner, stage)()
        iteration = [
            f"before_{stage}_iter(batch_idx, data_batch)",
            f"after_{stage}_iter(batch_idx, data_batch, outputs)",
        ]
        assert CallRecorder.calls == [
            f"before_{stage}()",
            f"before_{stage}_epoch()",
            *iteration * 2,
            f"after_{stage}_epoch(metrics)",
            f"after_{stage}()",
        ]
        assert metrics["accuracy/top1"] > 90

    def test_the_best_checkpoint_follows_the_accuracy(self, tmp_path):
        runner = QuietRunner(
            **runner_config(tmp_path),
            train_dataloader=loader(48, seed=0, batch=24, views=2, labelled=False),
            train_cfg={"by_epoch": True, "max_epochs": 2, "val_interval": 1},
            optim_wrapper={"optimizer": {"type": "SGD", "lr": 0.01}},
            default_hooks={"checkpoint": {"type": "CheckpointHook", "save_best": "accuracy/top1"}},
        )
        runner.train()
        best = list(tmp_path.glob("best_accuracy_top1_epoch_*.pth"))
        assert len(best) == 1
        assert runner.message_hub.get_info("best_score") > 90
        assert len(runner.message_hub.get_scalar("val/accuracy/top1").data[0]) == 2

    def test_every_submodule_keeps_its_training_mode(self, tmp_path):
        runner = build_runner(tmp_path)
        model = runner.model.train()
        model.backbone.norm.eval()
        before = [module.training for module in model.modules()]
        statistics = model.backbone.norm.running_mean.clone()
        runner.val_loop.run()
        assert [module.training for module in model.modules()] == before
        assert torch.equal(model.backbone.norm.running_mean, statistics)
        assert all(parameter.grad is None for parameter in model.parameters())

    def test_the_bank_is_loaded_late_once_and_filled_anew(self, tmp_path):
        loop = build_runner(tmp_path).val_loop
        assert isinstance(loop._bank_loader, dict)
        loop.run()
        built = loop.bank_loader
        torch.nn.init.zeros_(loop.runner.model.backbone.conv.weight)
        assert loop.run()["accuracy/top1"] < 30
        assert loop.bank_loader is built
        assert loop._bank is None

    def test_a_bank_without_a_sampler_is_read_in_order(self, tmp_path):
        bank = loader(60, seed=1)
        del bank["sampler"]
        loop = build_runner(tmp_path, bank_dataloader=bank).val_loop
        assert loop.bank_loader.sampler.shuffle is False

    def test_the_cost_is_logged_and_is_no_metric(self, tmp_path, caplog):
        runner = build_runner(tmp_path)
        runner.logger.setLevel(logging.INFO)
        lines = []
        runner.logger.info = lambda line, **_: lines.append(line)
        metrics = runner.val_loop.run()
        assert any("kNN: bank of 60 x 16 in" in line and "50 queries" in line for line in lines)
        assert set(metrics) == {"accuracy/top1", "accuracy/top3"}


class TestErrors:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"k": 61}, "k = 61 neighbours, but the bank has 60 images: set val_cfg.k"),
            ({"k": 2.5}, "k must be a whole number of at least 1, not 2.5"),
            ({"k": 0}, "k must be a whole number of at least 1, not 0"),
            ({"k": []}, r"needs a k and a temperature, not k=\[\]"),
            ({"temperature": [0.1, -1]}, "temperature must be above 0, or None for majority"),
            ({"bank_dtype": "int8"}, "bank_dtype must be one of .* not 'int8'"),
            (
                {"bank_dataloader": loader(60, seed=1, labelled=False)},
                r"in the bank toy/0\.png has no gt_label",
            ),
            (
                {"queries": loader(50, seed=1, labelled=False)},
                r"in the queries toy/0\.png has no gt_label",
            ),
        ],
    )
    def test_impossible_settings_are_named(self, tmp_path, options, message):
        with pytest.raises(ValueError, match=message):
            build_runner(tmp_path, **options).val()

    def test_diverged_weights_are_reported_with_their_number(self, tmp_path):
        runner = build_runner(tmp_path)
        runner.model.backbone.conv.bias.data.fill_(torch.nan)
        with pytest.raises(ValueError, match="bank: 60 of 60 feature rows hold NaN"):
            runner.val()

    def test_settings_are_every_pair_in_order(self):
        pairs = [(20, 0.07), (20, None), (5, 0.07), (5, None)]
        assert knn_settings([20, 5], [0.07, None]) == pairs
        assert knn_settings(20, None) == [(20, None)]
