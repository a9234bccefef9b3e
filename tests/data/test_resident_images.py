# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
import torch
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import Runner
from mmpretrain.registry import MODELS

from tests import models, tiny_runner
from xmoco_plugin import config_path
from xmoco_plugin.data import NpzImages, ResidentImages
from xmoco_plugin.visualization import fixed_views

COUNT = 22
PREPROCESSOR = dict(
    type="TwoViewDataPreprocessor",
    mean=[128.0] * 3,
    std=[64.0] * 3,
    views=dict(size=8),
    to_rgb=True,
)


@pytest.fixture
def folder(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (COUNT, 8, 10, 3), dtype=np.uint8)
    np.savez(tmp_path / "train.npz", images=images, labels=np.arange(COUNT) % 3)
    return str(tmp_path)


def loader(kind: str, folder: str, **dataset) -> dict:
    collate = "resident_collate" if kind == "ResidentImages" else "default_collate"
    return dict(
        batch_size=4,
        num_workers=0,
        drop_last=True,
        sampler=dict(type="DefaultSampler", shuffle=True),
        collate_fn=dict(type=collate),
        dataset=dict(type=kind, data_root=folder, pipeline=[dict(type="PackInputs")], **dataset),
    )


def epoch(kind: str, folder: str, number: int = 0, **dataset) -> list[torch.Tensor]:
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        built = Runner.build_dataloader(loader(kind, folder, **dataset), seed=3)
    built.sampler.set_epoch(number)
    return [torch.as_tensor(batch["inputs"]) for batch in built]


def same(first: list, second: list) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


def test_an_epoch_has_the_batches_of_the_ordinary_loader_and_the_next_has_others(folder):
    ours = epoch("ResidentImages", folder)
    assert ours[0].dtype == torch.uint8
    assert same(ours, epoch("NpzImages", folder))
    assert same(epoch("ResidentImages", folder, 1), epoch("NpzImages", folder, 1))
    assert not same(ours, epoch("ResidentImages", folder, 1))


def test_a_choice_of_images_is_the_same_choice(folder):
    chosen = epoch("ResidentImages", folder, indices=[17, 2, 9, 4])
    assert len(chosen) == 1
    assert same(chosen, epoch("NpzImages", folder, indices=[17, 2, 9, 4]))
    subset = ResidentImages(folder, lazy_init=True).get_subset([17, 2])
    pixels = subset.__getitems__([1])["inputs"][0].permute(1, 2, 0).numpy()
    np.testing.assert_array_equal(pixels, NpzImages(folder)[2]["img"])


def test_processes_get_the_shares_that_the_ordinary_loader_gives_them(folder, monkeypatch):
    shares = []
    for rank in range(2):
        monkeypatch.setattr("mmengine.dataset.sampler.get_dist_info", lambda rank=rank: (rank, 2))
        shares.append(epoch("ResidentImages", folder))
        assert same(shares[-1], epoch("NpzImages", folder))
    assert not any(torch.equal(a, b) for a in torch.cat(shares[0]) for b in torch.cat(shares[1]))


def train(work_dir, folder: str, kind: str, epochs: int = 2, **options) -> dict:
    runner = tiny_runner.build(
        work_dir,
        model=models.config(data_preprocessor=PREPROCESSOR),
        train_dataloader=loader(kind, folder),
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=epochs),
        **options,
    )
    runner.train()
    return runner.model.state_dict()


def test_a_run_and_one_that_was_resumed_end_with_the_weights_of_the_ordinary_loader(
    folder, tmp_path
):
    ends = {}
    for kind in ("ResidentImages", "NpzImages"):
        whole = train(tmp_path / kind, folder, kind)
        train(tmp_path / f"{kind}-cut", folder, kind, epochs=1)
        ends[kind] = whole, train(tmp_path / f"{kind}-cut", folder, kind, resume=True)
    for ours, ordinary in zip(*ends.values(), strict=True):
        assert all(torch.equal(ours[key], ordinary[key]) for key in ordinary)


def test_single_images_come_through_the_pipeline_for_a_picture(folder):
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        built = Runner.build_dataloader(loader("ResidentImages", folder))
        model = MODELS.build(models.config(data_preprocessor=PREPROCESSOR))
    assert built.dataset.get_data_info(4)["gt_label"] == 1
    views = fixed_views(built, model, [0, 5, 7], seed=0)
    assert [view.shape for view in views] == [(3, 3, 8, 8)] * 2


def test_a_worker_is_refused(folder):
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        built = Runner.build_dataloader(loader("ResidentImages", folder) | dict(num_workers=1))
    with pytest.raises(ValueError, match="set num_workers=0"):
        next(iter(built))


@pytest.mark.parametrize("name", ["resident", "fast"])
def test_the_configs_do_not_let_torch_pin_what_is_on_the_device(name):
    cfg = Config.fromfile(config_path(f"xmoco_r18_1xb512_cifar10_{name}.py"))
    assert cfg.train_dataloader.pin_memory is False  # the tools' default is to pin


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_an_epoch_comes_through_the_loader_of_the_config(folder):
    cfg = Config.fromfile(config_path("xmoco_r18_1xb512_cifar10_resident.py"))
    options = loader("ResidentImages", folder) | dict(pin_memory=cfg.train_dataloader.pin_memory)
    with DefaultScope.overwrite_default_scope("mmpretrain"):
        batches = [batch["inputs"] for batch in Runner.build_dataloader(options, seed=3)]
    assert all(batch.is_cuda for batch in batches)
    assert same([batch.cpu() for batch in batches], epoch("NpzImages", folder))


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_a_batch_is_taken_there_without_synchronizing(folder):
    dataset = ResidentImages(folder, device="cuda")
    expected = dataset.__getitems__([5, 3])["inputs"]
    torch.cuda.set_sync_debug_mode("error")
    try:
        batch = dataset.__getitems__([5, 3])["inputs"]
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert batch.is_cuda
    assert torch.equal(batch, expected)
    host = NpzImages(folder)
    assert (batch[1].permute(1, 2, 0).cpu().numpy() == host[3]["img"]).all()
