# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The rules of docs/choose_settings.md, on sets for which their outcome was worked out by hand."""

import numpy as np
import pytest

from xmoco_plugin.pretraining import Chooser, Facts, better_start, is_resnet, outlook


def choose(
    images: int,
    side: int = 500,
    gpu: bool = False,
    fits: int = 10**6,
    cpus=2,
    processes=1,
    pretrained: bool = False,
    grouped: bool = False,
    fixable: bool = False,
    slow: float | None = None,
    bfloat16: bool = False,
    **given,
):
    facts = Facts(images, np.full(images, side), gpu, cpus, processes, bfloat16)
    chooser = Chooser(facts, given, pretrained)
    chooser.views()
    chooser.layout(grouped)
    chooser.number_format(is_resnet(chooser.choices.model))
    chooser.norms(fixable)
    chooser.batch(fits, "a measurement")
    chooser.length()
    chooser.averages(slow)
    for rule in (chooser.queue, chooser.workers):
        rule()
    return chooser.choices


def test_three_hundred_images_on_a_cpu():
    chosen = choose(300)
    assert (chosen.model, chosen.image_size, chosen.batch_size) == ("resnet18", 96, 32)
    assert (chosen.queue_len, chosen.epochs) == (64, 100)
    assert (chosen.momentum, chosen.optimizer, chosen.lr) == (0.01, "AdamW", 0.001)  # 900 steps
    assert (chosen.workers, chosen.splits) == (1, 2)


def test_imagenet_on_a_gpu_gets_moco_v2s_settings():
    chosen = choose(1_281_167, gpu=True, cpus=16)
    assert (chosen.model, chosen.image_size, chosen.batch_size) == ("resnet50", 224, 256)
    assert (chosen.queue_len, chosen.momentum) == (65_536, 0.001)
    assert (chosen.optimizer, chosen.lr) == ("SGD", 0.03)
    assert chosen.epochs == 16
    assert (chosen.workers, chosen.splits) == (16, 8)


@pytest.mark.parametrize("images", [8, 17, 50, 999, 5_000, 123_456])
@pytest.mark.parametrize("gpu", [False, True])
def test_queue_and_batch_fit_any_set(images, gpu):
    chosen = choose(images, gpu=gpu)
    assert 2 <= chosen.queue_len <= images // 4
    assert 2 <= chosen.batch_size <= images // 4
    assert chosen.batch_size % chosen.splits == 0
    assert 1 <= chosen.epochs <= 800


@pytest.mark.parametrize(
    ("batch", "splits"), [(2, 1), (4, 2), (5, 1), (6, 2), (33, 1), (96, 3), (100, 2), (200, 5)]
)
def test_the_parts_of_any_given_batch_divide_it(batch, splits):
    assert choose(1000, batch_size=batch).splits == splits


def test_a_batch_is_what_the_memory_holds_and_says_so():
    chosen = choose(100_000, gpu=True, fits=100)
    assert chosen.batch_size == 64
    assert "a measurement" in chosen.why["batch_size"]
    assert chosen.lr == pytest.approx(0.03 * 64 / 256)


def test_the_learning_rate_counts_the_batch_of_all_processes():
    assert choose(10_000_000, gpu=True, processes=8, epochs=50).lr == pytest.approx(0.03 * 8)


@pytest.mark.parametrize(("batch", "lr"), [(8, 0.00025), (32, 0.001), (128, 0.001)])
def test_a_short_run_gets_adamw_at_a_rate_that_large_batches_do_not_raise(batch, lr):
    chosen = choose(10_000, gpu=True, batch_size=batch, epochs=7)
    assert (chosen.optimizer, chosen.lr) == ("AdamW", pytest.approx(lr))


@pytest.mark.parametrize(("side", "size"), [(28, 64), (70, 64), (100, 96), (190, 160), (4000, 224)])
def test_views_are_no_larger_than_most_images_in_steps_of_32(side, size):
    assert choose(100, side=side, gpu=True).image_size == size


def test_what_is_given_is_taken_and_what_depends_on_it_follows():
    chosen = choose(10_000, gpu=True, batch_size=64, epochs=7, queue_len=100)
    assert (chosen.batch_size, chosen.epochs, chosen.queue_len) == (64, 7, 100)
    assert chosen.lr == pytest.approx(0.001)  # 1,092 steps
    assert "given" in chosen.why["epochs"]
    assert "800" in chosen.why["epochs"]  # what it would have been


def test_vit_small_gets_moco_v3s_rate_and_no_queue():
    chosen = choose(100_000, gpu=True, model="vit-small")
    assert chosen.lr == pytest.approx(2.4e-3 * 256 / 4096)
    assert chosen.crop_scale == (0.08, 1.0)
    assert "queue_len" not in {name for name, _, _ in chosen.rows()}


def test_every_choice_has_its_reason():
    rows = list(choose(300).rows())
    assert [name for name, _, _ in rows] == [
        *("model", "image_size", "crop_scale", "key_view", "temperature", "batch_size"),
        *("queue_len", "epochs", "momentum", "optimizer", "lr", "workers"),
    ]
    assert all(len(why) > 3 for _, _, why in rows)


@pytest.mark.parametrize(
    ("gpu", "grouped", "model", "chosen"),
    [
        (False, True, "MobileNetV2", True),
        (False, False, "resnet18", False),
        (True, True, "MobileNetV2", False),  # not measured there
    ],
)
def test_channels_lie_last_on_a_cpu_where_convolutions_are_of_groups(gpu, grouped, model, chosen):
    found = choose(300, gpu=gpu, grouped=grouped, model=model)
    assert found.channels_last is chosen
    assert ("channels_last" in {name for name, _, _ in found.rows()}) is chosen


@pytest.mark.parametrize(("pretrained", "fixable"), [(True, True), (True, False), (False, True)])
def test_good_weights_keep_the_statistics_of_their_norms_and_need_no_parts(pretrained, fixable):
    found = choose(300, pretrained=pretrained, fixable=fixable)
    kept = pretrained and fixable
    assert (found.norm_eval, found.splits) == (kept, 1 if kept else 2)
    assert ("norm_eval" in {name for name, _, _ in found.rows()}) is kept


def test_few_images_are_told_what_to_expect_and_many_are_not():
    assert "are few" in str(outlook(200))
    assert outlook(500) is None


@pytest.mark.parametrize(
    ("gpu", "given", "expected"),
    [
        (False, {}, (64, 8, 3e-4)),  # 8,000 of 1,000 images
        (True, {}, (128, 800, 3e-4)),  # at least 4 steps an epoch
        (False, dict(batch_size=16), (16, 8, 3e-4 / 4)),
        (False, dict(lr=0.01, epochs=2), (64, 2, 0.01)),
    ],
)
def test_good_weights_get_a_gentle_recipe(gpu, given, expected):
    chosen = choose(1000, gpu=gpu, pretrained=True, **given)
    assert (chosen.batch_size, chosen.epochs, chosen.lr) == pytest.approx(expected)
    assert (chosen.optimizer, chosen.warmup, chosen.key_view) == ("AdamW", 0.1, "weak")
    assert chosen.temperature == 0.2
    assert {"key_view", "warmup"} <= {name for name, _, _ in chosen.rows()}


def test_the_key_is_weak_and_the_temperature_a_tenth_unless_told_otherwise():
    assert (choose(300).key_view, choose(300).temperature) == ("weak", 0.1)
    assert all("one seed" in choose(300).why[name] for name in ("key_view", "temperature"))
    given = choose(300, key_view="strong", temperature=0.2)
    assert (given.key_view, given.temperature) == ("strong", 0.2)
    named = {name for name, _, _ in choose(300, model="vit-small").rows()}
    assert not named & {"key_view", "temperature"}  # MoCo v3's own


def test_good_weights_are_recommended_below_50_000_images():
    assert "no --init: the network begins with random weights" in str(better_start(49_999))
    assert better_start(50_000) is None


@pytest.mark.parametrize(("epochs", "share"), [(1, 0.0), (2, 0.375), (100, 0.1)])
def test_a_short_run_is_warmed_up_over_three_steps_or_not_at_all(epochs, share):
    # 4 steps an epoch. The host does not rise within one step: the rate would stay a hundredth.
    assert choose(16, pretrained=True, batch_size=4, epochs=epochs).warmup == share


def test_averages_that_lag_behind_a_short_run_are_hastened_with_the_reason():
    found = choose(475, slow=0.01)
    assert found.norm_momentum == 0.1
    assert found.why["norm_momentum"] == (
        "BatchNorm's averages: the network's own 0.01 is over 100 steps, of 882 "
        "(docs/lab/results.md)"
    )
    assert choose(10**6, gpu=True, slow=0.01).norm_momentum == 0  # 78,125 steps
    assert choose(475, slow=None).norm_momentum == 0
    assert choose(475, slow=0.01, pretrained=True, fixable=True).norm_momentum == 0  # they stay


@pytest.mark.parametrize(
    ("expected", "facts"),
    [
        ("bfloat16", dict(bfloat16=True)),
        ("float32", dict(bfloat16=False)),
        ("float32", dict(bfloat16=True, gpu=True)),  # where AmpOptimWrapper does it
        ("float32", dict(bfloat16=True, pretrained=True)),
        ("float32", dict(bfloat16=True, model="MobileNetV2")),
    ],
)
def test_resnets_are_computed_in_bfloat16_where_the_cpu_multiplies_in_it(expected, facts):
    chosen = choose(300, **facts)
    assert chosen.precision == expected
    assert ("precision" in chosen.why) == (expected == "bfloat16")
