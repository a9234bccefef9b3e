# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a run's images and features are, with a kNN loop in its config and without."""

import numpy as np
import pytest
import torch
from mmengine.config import Config
from PIL import Image

from xmoco_plugin.visualization.report import WorkDir
from xmoco_plugin.visualization.report.attempt import NotDrawnError
from xmoco_plugin.visualization.report.bank import Bank
from xmoco_plugin.visualization.report.neighbours import neighbour_figure
from xmoco_plugin.visualization.report.network import Network, _plain
from xmoco_plugin.visualization.report.thumbnails import thumbnail
from xmoco_plugin.visualization.report.tsne import tsne_figure

from ...tools_config import IMAGES, draw


@pytest.fixture
def folder_run(tmp_path) -> tuple[WorkDir, Network, torch.nn.Module]:
    """A run on unlabelled images of a folder, with one checkpoint."""
    cfg = Config.fromfile(draw(tmp_path))
    cfg.train_dataloader.dataset.data_root = str(tmp_path / "images")
    network = Network(cfg)
    run = WorkDir(tmp_path, "run", checkpoints={1: tmp_path / "epoch_1.pth"})
    (tmp_path / "epoch_1.pth").touch()
    torch.save({"state_dict": network.build().state_dict()}, tmp_path / "epoch_1.pth")
    return run, network, network.model(tmp_path / "epoch_1.pth")


def test_without_a_knn_loop_images_are_plain_and_as_large_as_a_view(folder_run):
    _, network, _ = folder_run
    assert not network.queries_apart
    (first,), (again,) = network.pixels(network.bank, [0]), network.pixels(network.bank, [0])
    assert first.shape == (8, 8, 3)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("made", ["in a worker", "on the device"])
def test_plain_images_are_as_large_as_the_views_of_a_recipe(tmp_path, made):
    cfg = Config.fromfile(draw(tmp_path))
    data = cfg.train_dataloader.dataset
    data.data_root = str(tmp_path / "images")
    load, views = dict(type="LoadImageFromFile"), dict(recipe="mocov2", size=10)
    if made == "in a worker":
        data.pipeline = [load, dict(type="TwoViews", views=views), dict(type="PackInputs")]
    else:
        data.pipeline = [load, dict(type="PackRaggedInputs")]
        cfg.train_dataloader.collate_fn = dict(type="ragged_collate")
        cfg.model.data_preprocessor.update(type="TwoViewDataPreprocessor", views=views)
    network = Network(cfg)
    (plain,) = network.pixels(network.bank, [0])
    (first,), (second,) = network.views([0])
    assert plain.shape == first.shape == second.shape == (10, 10, 3)
    assert len(network.features(network.build(), network.bank, [0, 1])) == 2


@pytest.mark.parametrize("kind", ["ChannelViews", "OneChannelView"])
def test_plain_images_of_many_channels_are_cropped_by_what_takes_any_number(kind):
    views = dict(size=10, saturation=0.0, hue=0.0, grey_prob=0.0)
    load, pack = dict(type="LoadChannelsOrSkip"), dict(type="PackInputs")
    data = dict(pipeline=[load, dict(type=kind, views=views), pack])
    found = _plain(dict(dataset=data), {})["dataset"]["pipeline"]
    assert found == [load, dict(type="ChannelCrop", size=10, short=10), pack]


def test_training_images_come_in_two_views_and_the_same_ones_each_time(folder_run):
    _, network, _ = folder_run
    (first,), (second,) = views = network.views([3])
    assert first.shape == second.shape == (8, 8, 3)
    assert not np.array_equal(first, second)
    np.testing.assert_array_equal(views, network.views([3]))


def test_colours_are_those_of_the_file(folder_run, tmp_path):
    _, network, _ = folder_run
    file = np.asarray(Image.open(tmp_path / "images" / "03.png")).mean((0, 1))
    (plain,) = network.pixels(network.bank, [3])
    np.testing.assert_allclose(plain.mean((0, 1)), file, atol=8)
    for (view,) in network.views([3]):
        np.testing.assert_allclose(view.mean((0, 1)), file, atol=20)


def test_an_unlabelled_query_is_not_among_its_neighbours(folder_run):
    run, network, model = folder_run
    bank = Bank.collect(network, model, IMAGES)
    assert not set(bank.queries) & set(bank.indices)
    assert len(bank.queries) + len(bank.indices) == IMAGES
    figure = neighbour_figure(run, 0, network, bank)
    assert "unlabelled" in figure.body
    assert "✓" not in figure.body + figure.caption


def test_planted_neighbours_are_the_ones_shown(folder_run):
    run, network, model = folder_run
    bank = Bank.collect(network, model, IMAGES)
    bank.indices, bank.labels = list(range(8)), [0, 1, 2, 3, 4, 5, 6, 7]
    bank.features = torch.eye(8)
    bank.queries, bank.query_labels = [20, 21], [3, 1]
    bank.query_features = torch.nn.functional.normalize(
        torch.eye(8)[[3, 6]] + 0.5 * torch.eye(8)[[2, 1]], dim=1
    )
    table = neighbour_figure(run, 0, network, bank).table
    assert table is not None
    assert [row[:3] for row in table.rows] == [
        ["1: class 3", "class 3 0.89", "class 2 0.45"],
        ["2: class 1", "class 6 0.89", "class 1 0.45"],
    ]


def test_too_few_images_for_a_map_are_said(folder_run):
    run, network, model = folder_run
    bank = Bank.collect(network, model, IMAGES)
    bank.indices = bank.indices[:3]
    with pytest.raises(ValueError, match="of 3 images it says nothing"):
        tsne_figure(run, 0, network, bank)


@pytest.mark.parametrize("count", [0, 1, 2, 8])
def test_of_few_images_half_are_queries_and_one_alone_is_a_reason(folder_run, count):
    _, network, model = folder_run
    whole = network.bank.dataset
    few = torch.utils.data.DataLoader(
        [whole[i] for i in range(count)], collate_fn=network.bank.collate_fn
    )
    network.bank = network.queries = few
    if count < 2:
        with pytest.raises(NotDrawnError, match=f"the set has {count}"):
            Bank.collect(network, model, IMAGES)
        return
    bank = Bank.collect(network, model, IMAGES)
    assert (len(bank.queries), len(bank.indices)) == (count // 2, count - count // 2)


@pytest.mark.parametrize(("side", "kind"), [(32, "png"), (224, "jpeg")])
def test_a_thumbnail_is_small_and_carries_its_words_safely(side, kind):
    image = thumbnail(np.zeros((side, side, 3), np.uint8), 'a "cat"')
    assert f'src="data:image/{kind};base64,' in image
    assert 'alt="a &#34;cat&#34;"' in image
    assert f'width="{min(side, 96)}"' in image


def test_a_class_that_is_named_by_a_number_is_called_a_class(folder_run):
    _, network, _ = folder_run
    network.bank.dataset._metainfo = dict(classes=["0", "cat"])
    assert [network.class_name(i) for i in range(3)] == ["class 0", "cat", "class 2"]
