# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from xmoco_plugin.evaluation.linear_probe import (
    HeadSetting,
    epoch_orders,
    head_settings,
    held_out_rows,
    linear_probe,
    standardizer,
    train_heads,
    with_ones,
)

CLASSES = 4


def blobs(rows: int, seed: int, dim: int = 12, spread: float = 1.5):
    """Overlapping Gaussian clouds of unequal scale, away from the origin; labels in turn."""
    centres = torch.randn(CLASSES, dim, generator=torch.Generator().manual_seed(99))
    generator = torch.Generator().manual_seed(seed)
    labels = torch.arange(rows) % CLASSES
    noise = spread * torch.randn(rows, dim, generator=generator)
    scale = torch.logspace(-2, 2, dim)
    return (centres[labels] + noise) * scale + 5, labels


def train_alone(features, labels, setting, epochs, batch_size, seed) -> nn.Linear:
    """One head the usual way: autograd, torch's optimizer and schedule, batch after batch."""
    head = nn.Linear(features.shape[2], CLASSES).double()
    nn.init.zeros_(head.weight)
    nn.init.zeros_(head.bias)
    optimizer = torch.optim.SGD(
        head.parameters(), lr=setting.lr, momentum=0.9, weight_decay=setting.weight_decay
    )
    batches = -(-len(labels) // batch_size)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, T_max=epochs * batches)
    for epoch, order in enumerate(epoch_orders(len(labels), epochs, seed)):
        for rows in order.split(batch_size):
            loss = nn.functional.cross_entropy(
                head(features[epoch % len(features)][rows]), labels[rows]
            )
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return head


@pytest.mark.parametrize("passes", [1, 3])
def test_heads_trained_together_equal_heads_trained_alone_by_torch(passes):
    plain, labels = blobs(50, seed=0)
    plain = (plain - plain.mean(0)) / plain.std(0)
    features = torch.stack([plain + 0.1 * i for i in range(passes)]).double()
    settings = head_settings([0.01, 0.3], [0.0, 1e-2])
    together = train_heads(with_ones(features), labels, CLASSES, settings, 7, 16, seed=5)
    for head, setting in zip(together, settings, strict=True):
        alone = train_alone(features, labels, setting, 7, 16, seed=5)
        assert head.abs().max() > 1e-3
        torch.testing.assert_close(head[:-1].T, alone.weight.detach(), rtol=0, atol=1e-5)
        torch.testing.assert_close(head[-1], alone.bias.detach(), rtol=0, atol=1e-5)


def test_a_head_is_the_same_whichever_others_are_trained_beside_it():
    features, labels = blobs(60, seed=1)
    features = with_ones(features[None] / 100)
    settings = head_settings([0.1, 1.0], [0.0, 1e-4])
    together = train_heads(features, labels, CLASSES, settings, 5, 16)
    for head, setting in zip(together, settings, strict=True):
        alone = train_heads(features, labels, CLASSES, [setting], 5, 16)[0]
        torch.testing.assert_close(head, alone, rtol=1e-5, atol=1e-6)


def test_the_accuracy_is_that_of_logistic_regression():
    (features, labels), (tests, truth) = blobs(1200, seed=2), blobs(1200, seed=3)
    result = linear_probe(features, labels, tests, truth, epochs=60, batch_size=64)
    mean, scale = standardizer(features)
    judge = LogisticRegression(C=1e4, max_iter=2000).fit((features - mean) / scale, labels)
    expected = 100 * judge.score((tests - mean) / scale, truth)
    assert 60 < expected < 99
    assert abs(result.accuracy - expected) < 1.5


def test_the_choice_is_made_on_held_out_training_images_and_never_sees_the_test_set():
    features, labels = blobs(200, seed=4)
    tests, truth = blobs(80, seed=5)
    given = linear_probe(features, labels, tests, truth, epochs=10)
    wrong = linear_probe(features, labels, tests, (truth + 1) % CLASSES, epochs=10)
    assert given.best == wrong.best
    assert given.held_out == wrong.held_out
    assert given.accuracy > 50 > wrong.accuracy
    assert given.held_out[given.best] == max(given.held_out.values())


def test_held_out_rows_are_a_share_of_every_class_and_at_least_one():
    labels = torch.tensor([0] * 40 + [1] * 20 + [2] * 3)
    rows = held_out_rows(labels, 0.1, seed=0)
    assert torch.bincount(labels[rows]).tolist() == [4, 2, 1]
    assert len(rows.unique()) == len(rows)
    assert torch.equal(rows, held_out_rows(labels, 0.1, seed=0))
    assert not torch.equal(rows, held_out_rows(labels, 0.1, seed=1))


def test_features_of_any_scale_and_offset_give_the_same_result():
    features, labels = blobs(200, seed=6)
    tests, truth = blobs(200, seed=7)
    plain = linear_probe(features, labels, tests, truth, lrs=[1.0], epochs=10)
    moved = linear_probe(8 * features + 64, labels, 8 * tests + 64, truth, lrs=[1.0], epochs=10)
    assert moved.accuracy == pytest.approx(plain.accuracy, abs=1.0)


def test_the_inputs_are_left_as_they_were():
    features, labels = blobs(40, seed=8)
    before = features.clone()
    linear_probe(features, labels, features, labels, lrs=[1.0], weight_decays=[0.0], epochs=2)
    assert torch.equal(features, before)


def test_a_best_learning_rate_at_the_edge_of_the_grid_is_told():
    features, labels = blobs(200, seed=9)
    lrs = [1e-6, 1e-5, 1e-1]
    assert linear_probe(features, labels, features, labels, lrs=lrs, epochs=5).at_edge


def test_a_head_that_diverges_is_never_chosen_and_all_of_them_are_an_error():
    features, labels = blobs(80, seed=10)
    result = linear_probe(
        *(features, labels, features, labels), lrs=[1.0, 1e38], weight_decays=[0.1], epochs=5
    )
    assert result.best == HeadSetting(1.0, 0.1)
    with pytest.raises(ValueError, match=r"every head diverged: learning rates \[1e\+38\]"):
        linear_probe(
            *(features, labels, features, labels), lrs=[1e38], weight_decays=[0.1], epochs=5
        )


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(labels=torch.zeros(20, dtype=torch.long)), r"20 images of 1 class"),
        (dict(labels=torch.tensor([0] * 19 + [1])), "class 1 has a single training image"),
        (dict(test_labels=torch.full((20,), 9)), r"classes without a training image: \[9\]"),
        (dict(features=torch.full((20, 12), torch.nan)), "20 of 20 feature rows hold NaN"),
        (dict(test_features=torch.full((20, 12), torch.inf)), "test: 20 of 20"),
        (dict(lrs=[0.0]), "learning rates above 0"),
        (dict(weight_decays=[]), "learning rates above 0"),
    ],
)
def test_bad_input_is_refused_with_the_value_at_fault(change, message):
    features, labels = blobs(20, seed=11)
    given = dict(features=features, labels=labels, test_features=features, test_labels=labels)
    with pytest.raises(ValueError, match=message):
        linear_probe(**{**given, **change})
