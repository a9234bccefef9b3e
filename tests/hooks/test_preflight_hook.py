# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import numpy as np
import pytest
from mmengine.hooks import Hook
from torch import nn

from xmoco_plugin.hooks.run_facts import RunFacts

from .. import models, tiny_runner

PREPROCESSOR = dict(type="SelfSupDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3)


class Stop(Exception):
    """Preflight is over: nothing of the training itself is wanted here."""


class StopAfterPreflight(Hook):
    def before_train(self, runner):
        raise Stop


def lines(tmp_path, change=None, given=None, **options) -> list[str]:
    """What preflight says of a run; a ValueError passes through."""
    hook = dict(type="PreflightHook", given=given)
    runner = tiny_runner.build(tmp_path, hooks=[hook], **options)
    runner.register_hook(StopAfterPreflight())
    said: list[str] = []
    runner.logger.info = runner.logger.warning = lambda line, **_: said.append(line)
    if change:
        change(runner)
    with pytest.raises(Stop):
        runner.train()
    return [line for line in said if line.startswith("preflight: ")]


def model(**options) -> dict:
    return models.config(data_preprocessor=PREPROCESSOR, **options)


def test_a_sound_run_gets_one_line_with_its_numbers(tmp_path):
    loader = tiny_runner.loader(size=2048, batch_size=8)
    (line,) = lines(tmp_path, train_dataloader=loader)
    assert line == "preflight: 2,048 images, 4 classes; batch 8 (1 x 8), 256 iterations an epoch"


def test_images_without_labels_are_said_to_have_no_classes(tmp_path):
    loader = tiny_runner.loader(size=64, labelled=False)
    assert "64 images, no classes named" in lines(tmp_path, train_dataloader=loader)[0]


def test_a_queue_longer_than_the_data_set_is_a_warning_with_both_numbers(tmp_path):
    _, line = lines(tmp_path, model=model(queue_len=40))
    assert "queue holds 40 keys but the data set only 16 images" in line
    assert "about 2.5 times in the queue" in line


def test_a_teacher_s_queue_is_not_judged_as_one_of_stale_keys(tmp_path):
    taught = dict(
        type="TeacherContrast",
        backbone=dict(type="TinyEncoder"),
        neck=None,
        head=dict(type="TeacherHead", relation=None, consistency=dict()),
        own_crop=True,
        data_preprocessor=PREPROCESSOR,
    )
    assert len(lines(tmp_path, model=taught | dict(num_keys=40))) == 1
    _, line = lines(tmp_path, model=taught | dict(num_keys=2))
    assert line.endswith("lengthen model.num_keys")


def test_a_batch_longer_than_the_queue_is_a_warning(tmp_path):
    loader = tiny_runner.loader(size=64, batch_size=16)
    _, line = lines(tmp_path, model=model(queue_len=12), train_dataloader=loader)
    assert "batch of 16 is larger than the queue of 12" in line


@pytest.mark.parametrize("queue", [12, 400])
def test_a_run_of_pretrain_is_not_warned_of_its_own_choice_and_is_told_options(tmp_path, queue):
    run = dict(
        model=model(queue_len=queue), train_dataloader=tiny_runner.loader(size=64, batch_size=16)
    )
    assert len(lines(tmp_path, given=["batch_size"], **run)) == 1  # the run in numbers
    _, line = lines(tmp_path, given=["queue_len"], **run)
    assert "--queue-len" in line
    assert "model." not in line


def test_checkpoints_of_an_earlier_run_are_a_warning_unless_it_is_resumed(tmp_path):
    earlier = tiny_runner.build(tmp_path, train_cfg=dict(by_epoch=True, max_epochs=1))
    earlier.train()
    for name in ("best_accuracy_top1_epoch_7.pth", "backbone.pth"):
        (tmp_path / name).touch()
    said = lines(tmp_path)
    (line,) = [line for line in said if "earlier run" in line]
    assert f"{tmp_path} holds checkpoints" in line
    assert "epoch_1.pth, best_accuracy_top1_epoch_7.pth; name another --work-dir, or" in line
    assert not [line for line in lines(tmp_path, resume=True) if "earlier run" in line]


def rate(tmp_path, base: int, **options):
    loader = tiny_runner.loader(size=64, batch_size=8)
    return lines(
        tmp_path,
        train_dataloader=loader,
        auto_scale_lr=dict(base_batch_size=base, **options.pop("auto", {})),
        **options,
    )


def test_a_learning_rate_of_another_batch_is_a_warning_with_the_linear_rules_rate(tmp_path):
    _, line = rate(tmp_path, 256)
    assert "learning rate 0.05 belongs to a global batch of 256, this run has 8 (1 x 8)" in line
    assert "would be 0.00156;" in line
    assert "base_batch_size=8" in line


def test_a_warmed_up_rate_is_judged_by_its_full_value(tmp_path):
    warmup = [dict(type="LinearLR", start_factor=0.01, by_epoch=False, end=4)]
    assert "learning rate 0.05 " in rate(tmp_path, 256, param_scheduler=warmup)[1]


@pytest.mark.parametrize("base", [4, 16])
def test_a_factor_of_two_is_tolerated(tmp_path, base):
    assert len(rate(tmp_path, base)) == 1


def test_a_scaled_rate_is_not_a_warning(tmp_path):
    assert len(rate(tmp_path, 256, auto=dict(enable=True))) == 1


def test_accumulation_counts_in_the_batch(tmp_path):
    wrapper = dict(optimizer=dict(type="SGD", lr=0.05), accumulative_counts=32)
    assert len(rate(tmp_path, 256, optim_wrapper=wrapper)) == 1


def test_sync_bn_on_one_process_is_said_to_be_plain(tmp_path):
    neck = dict(
        type="NonLinearNeck",
        in_channels=16,
        hid_channels=12,
        out_channels=8,
        norm_cfg=dict(type="SyncBN"),
        with_avg_pool=True,
    )
    assert "SyncBN, but there is one process" in lines(tmp_path, model=model(neck=neck))[-1]


def test_sync_bn_on_cpus_is_an_error(tmp_path, monkeypatch):
    def change(runner):
        runner.model.neck.bn = nn.SyncBatchNorm(8)
        for module in ("preflight_hook", "run_facts"):
            monkeypatch.setattr(f"xmoco_plugin.hooks.{module}.get_world_size", lambda: 2)

    with pytest.raises(ValueError, match="SyncBN does not run on CPUs"):
        lines(tmp_path, change)


def test_one_image_in_all_has_no_negative_pair(tmp_path):
    with pytest.raises(ValueError, match="batch of an epoch holds 1 image"):
        lines(tmp_path, train_dataloader=tiny_runner.loader(batch_size=1))


def test_one_image_in_the_last_batch_has_no_negative_pair_either(tmp_path):
    loader = tiny_runner.loader(size=17, drop_last=False)
    with pytest.raises(ValueError, match="last batch of an epoch holds 1 image"):
        lines(tmp_path, train_dataloader=loader)
    lines(tmp_path, train_dataloader=tiny_runner.loader(size=17, drop_last=True))


def test_moco_may_have_a_batch_of_one(tmp_path):
    moco = models.config("MoCo", data_preprocessor=PREPROCESSOR)
    lines(tmp_path, model=moco, train_dataloader=tiny_runner.loader(batch_size=1))


def test_fewer_images_than_a_batch_are_no_iterations(tmp_path):
    loader = tiny_runner.loader(size=5, batch_size=8)
    with pytest.raises(ValueError, match=r"5 images do not fill one batch of 8.*0 iterations"):
        lines(tmp_path, train_dataloader=loader)


def test_no_images_are_an_error_that_names_the_folder(tmp_path):
    loader = tiny_runner.loader(size=0, data_root="photos/", serialize_data=False)
    with pytest.raises(ValueError, match="no images found in photos/"):
        lines(tmp_path, train_dataloader=loader)


@pytest.mark.parametrize(("size", "batch", "left"), [(18, 6, 6), (22, 4, 2)])
def test_a_batch_that_split_bn_cannot_split_is_an_error(tmp_path, size, batch, left):
    def change(runner):
        runner.model.backbone.norm.num_splits = 4

    loader = tiny_runner.loader(size=size, batch_size=batch, drop_last=False)
    with pytest.raises(ValueError, match=f"into 4 parts, but a process gets {left} images"):
        lines(tmp_path, change, train_dataloader=loader)


def test_more_neighbours_than_the_bank_has_are_an_error(tmp_path):
    bank = tiny_runner.loader(views=False, shuffle=False)
    with pytest.raises(ValueError, match="kNN asks for 17 neighbours, but its bank has 16 images"):
        lines(
            tmp_path,
            validate=True,
            val_cfg=dict(type="KNNValLoop", bank_dataloader=bank, k=[3, 17]),
        )


@pytest.mark.parametrize("views", ["TwoViews", "MultiView"])
def test_files_left_to_the_device_and_views_made_here_are_an_error(tmp_path, views):
    options = {} if views == "TwoViews" else dict(num_views=2, transforms=[[]])
    load, make = dict(type="LoadImageOrSkip", defer_jpegs=True), dict(type=views, **options)
    loader = tiny_runner.loader(pipeline=[load, make, dict(type="PackInputs")])
    with pytest.raises(ValueError, match=rf"hands on files, and {views}, PackInputs take pixels"):
        lines(tmp_path, train_dataloader=loader)


def test_files_left_to_the_device_pass_where_they_are_packed_as_they_are(tmp_path):
    load = dict(type="LoadImageOrSkip", defer_jpegs=True)
    loader = tiny_runner.loader(size=2048, pipeline=[load, dict(type="PackRaggedInputs")])
    (line,) = lines(tmp_path, train_dataloader=loader)
    assert line.startswith("preflight: 2,048 images")


@pytest.mark.parametrize(("pin", "device"), [(True, "cuda"), (False, "cuda"), (True, "cpu")])
def test_batches_on_the_device_that_the_loader_would_pin_are_an_error(tmp_path, pin, device):
    np.savez(tmp_path / "train.npz", images=np.zeros((2048, 8, 8, 3), np.uint8))
    images = dict(type="ResidentImages", data_root=str(tmp_path), device=device, pipeline=[])
    loader = dict(tiny_runner.loader(), dataset=images, pin_memory=pin)
    if pin and device == "cuda":
        with pytest.raises(
            ValueError, match="images on cuda, where torch cannot pin them: set pin"
        ):
            lines(tmp_path, train_dataloader=loader)
    else:
        assert len(lines(tmp_path, train_dataloader=loader)) == 1


def test_a_supervised_model_passes(tmp_path):
    classifier = dict(
        type="ImageClassifier",
        backbone=dict(type="TinyEncoder"),
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=4, in_channels=16),
    )
    loader = tiny_runner.loader(views=False, batch_size=1)
    assert len(lines(tmp_path, model=classifier, train_dataloader=loader)) == 1


def test_training_counted_in_iterations_passes(tmp_path):
    loader = tiny_runner.loader(infinite=True)
    train = dict(type="IterBasedTrainLoop", max_iters=4)
    assert "16 images" in lines(tmp_path, train_dataloader=loader, train_cfg=train)[0]


def test_the_global_batch_is_that_of_all_processes(tmp_path, monkeypatch):
    monkeypatch.setattr("xmoco_plugin.hooks.run_facts.get_world_size", lambda: 8)
    runner = tiny_runner.build(tmp_path)
    runner._train_loop = runner.build_train_loop(runner._train_loop)
    facts = RunFacts.of(runner)
    assert (facts.global_batch, facts.describe_batch()) == (32, "8 x 4")


def test_one_image_is_enough_where_only_the_queue_is_compared_with(tmp_path):
    loader = tiny_runner.loader(size=64, batch_size=1)
    head = dict(
        type="XMoCoHead",
        consistency=dict(pairs="queue", target="momentum"),
        uniformity=dict(negatives="batch", loss_weight=0.0),
    )
    assert "batch 1 (1 x 1)" in lines(tmp_path, model=model(head=head), train_dataloader=loader)[0]


def test_a_rate_for_accumulated_batches_is_not_sent_to_the_scaling_that_ignores_them(tmp_path):
    wrapper = dict(optimizer=dict(type="SGD", lr=0.05), accumulative_counts=8)
    _, line = rate(tmp_path, 1024, optim_wrapper=wrapper)
    assert "--auto-scale-lr" not in line
