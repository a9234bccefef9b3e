# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Which epochs are exported, that the files are the checkpoint's, and what a resume knows."""

import pytest
import torch
from mmengine.hooks import Hook

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.export import read_weights
from xmoco_plugin.hooks.health_hook import VERDICT

from .. import models, tiny_runner
from ..export import backbones
from ..multiprocess import run_processes
from . import health_run

PREPROCESSOR = health_run.PREPROCESSOR


class Say(Hook):
    """Gives verdicts, by epoch, in the place of HealthHook."""

    def __init__(self, *words, broken=()):
        self.words, self.broken = words, broken  # epochs with a value that became NaN

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        self.say(runner)

    def after_train(self, runner):
        self.say(runner)

    def say(self, runner):
        if runner.epoch and self.words:
            said = dict(epoch=runner.epoch, iter=runner.iter, verdict=self.words[runner.epoch - 1])
            if runner.epoch in self.broken:
                said["not_finite"] = ["grad_norm"]
            runner.message_hub.update_info(VERDICT, said)


class Spoil(Hook):
    """Makes the backbone's weights NaN when an epoch, counted from 0, begins."""

    def __init__(self, epoch):
        self.epoch = epoch

    def after_train_epoch(self, runner):
        if runner.epoch == self.epoch:
            next(runner.model.backbone.parameters()).data.fill_(float("nan"))


def train(folder, *words, hooks=(), interval=1, **options):
    """Epochs with these verdicts; the log lines of the export, and the record in the file."""
    epochs = options.pop("epochs", len(words))
    say = Say(*words, broken=options.pop("broken", ()))
    hook = dict(type="HealthyExportHook", interval=interval)
    loop = dict(by_epoch=True, max_epochs=epochs)
    runner = tiny_runner.build(folder, hooks=[hook], train_cfg=loop, **options)
    for other in (say, *hooks):
        runner.register_hook(other, priority="NORMAL")
    said = listen(runner)
    runner.train()
    return said, record(folder)


def listen(runner):
    said = []
    for name in ("info", "warning"):
        setattr(runner.logger, name, lambda line, **_: said.append(line))
    return Lines(said)


class Lines:
    """The lines about the export among all that was logged."""

    def __init__(self, all_lines):
        self.all_lines = all_lines

    def __iter__(self):
        return (s for s in map(str, self.all_lines) if s.startswith("export:"))

    def one(self, part) -> str:
        (line,) = [line for line in self if part in line]
        return line


def record(folder):
    path = folder / "backbone.pth"
    return read_checkpoint(path)["meta"] if path.exists() else None


@pytest.mark.parametrize(
    ("words", "kept"),
    [
        (("learning", "collapsing"), 1),
        (("not learning", "collapsing"), 1),
        (("learning", "not learning"), 1),
        (("learning", "not learning", "learning"), 3),
        (("too early", "not learning"), 2),
        (("not learning", "not learning"), 2),
        (("learning", "learning"), 2),
    ],
    ids=lambda value: "-".join(value) if isinstance(value, tuple) else str(value),
)
def test_the_export_is_that_of_the_latest_healthy_epoch(tmp_path, words, kept):
    _, meta = train(tmp_path, *words)
    assert (meta["epoch"], meta["source"]) == (kept, f"epoch_{kept}.pth")
    assert meta["verdict"] == words[kept - 1]


def test_an_epoch_in_whose_health_a_value_became_nan_is_never_exported(tmp_path):
    said, meta = train(tmp_path, "not learning", "not learning", broken=(2,))
    assert meta["epoch"] == 1
    line = said.one("held")
    assert "epoch_2.pth is held back: grad_norm became NaN or infinite in its epoch" in line


def test_a_run_that_only_collapses_exports_nothing_and_says_so(tmp_path):
    said, meta = train(tmp_path, "collapsing")
    assert meta is None
    assert "epoch_1.pth is held back: it is collapsing; there is no export yet" in said.one("held")


def test_what_was_exported_and_what_was_held_back_is_said(tmp_path):
    said, _ = train(tmp_path, "learning", "not learning")
    assert said.one("now of").endswith("backbone.pth is now of epoch_1.pth (learning)")
    assert said.one("held back").endswith(
        "epoch_2.pth is held back: it is not learning; backbone.pth stays that of epoch_1.pth "
        "(learning)"
    )
    assert "mmseg read it as a run's backbone.pth has it" in said.one("no backbone.safetensors")


def test_nan_weights_are_never_exported_whatever_the_verdict(tmp_path):
    said, meta = train(tmp_path, "learning", "learning", hooks=[Spoil(1)])
    assert meta["epoch"] == 1
    assert "values that are not finite" in said.one("epoch_2.pth is held back")


def test_without_a_verdict_only_nan_is_asked_for(tmp_path):
    _, meta = train(tmp_path, epochs=3, hooks=[Spoil(2)])
    assert meta["epoch"] == 2
    assert "verdict" not in meta


def test_the_file_has_the_weights_of_its_checkpoint_and_nothing_is_left_beside_it(tmp_path):
    train(tmp_path, "learning", "collapsing")
    ours = read_checkpoint(tmp_path / "backbone.pth")["state_dict"]
    theirs = read_checkpoint(tmp_path / "epoch_1.pth")["state_dict"]
    assert ours.keys() == {key for key in theirs if key.startswith("backbone.")}
    assert all(torch.equal(value, theirs[key]) for key, value in ours.items())
    assert not list(tmp_path.glob(".*"))


def test_a_resnet_is_exported_as_safetensors_too_with_the_same_weights(tmp_path):
    backbones.needs("safetensors")
    model = models.config(
        backbone=dict(type="ResNet", depth=18),
        neck=dict(type="MoCoV2Neck", in_channels=512, hid_channels=12, out_channels=models.DIM),
        data_preprocessor=PREPROCESSOR,
    )
    said, meta = train(tmp_path, "learning", model=model)
    assert "backbone.pth and backbone.safetensors are now of epoch_1.pth" in said.one("now of")
    assert meta["architecture"] == "resnet18"
    ours = read_checkpoint(tmp_path / "backbone.pth")["state_dict"]
    theirs = read_weights(tmp_path / "backbone.safetensors")["state_dict"]
    assert {f"backbone.{key}" for key in theirs} == ours.keys()
    assert all(torch.equal(value, ours[f"backbone.{key}"]) for key, value in theirs.items())
    from safetensors import safe_open

    with safe_open(tmp_path / "backbone.safetensors", "pt") as file:
        assert file.metadata()["verdict"] == "learning"
        assert file.metadata()["source_sha256"] == meta["source_sha256"]


def test_a_resumed_run_knows_that_the_export_came_from_a_learning_epoch(tmp_path):
    train(tmp_path, "learning", "not learning")
    said, meta = train(tmp_path, "learning", "not learning", "not learning", resume=True)
    assert meta["epoch"] == 1
    assert "stays that of epoch_1.pth (learning)" in said.one("epoch_3.pth is held back")
    _, meta = train(tmp_path, *["learning"] * 4, resume=True)
    assert meta["epoch"] == 4


def test_an_export_that_a_killed_run_missed_is_made_when_it_is_resumed(tmp_path):
    def build(**options):
        hooks = [dict(type="HealthyExportHook")]
        return health_run.build(tmp_path, epochs=1, hooks=hooks, **options)

    build().train()
    (tmp_path / "backbone.pth").unlink()
    build(resume=True).train()  # no epoch is left to do
    assert record(tmp_path)["verdict"] == "too early"


def test_what_an_earlier_run_has_left_holds_nothing_back(tmp_path):
    train(tmp_path, "learning", "learning")
    said, meta = train(tmp_path, "not learning")
    assert (meta["epoch"], meta["verdict"]) == (1, "not learning")
    assert "is of an earlier run" in said.one("earlier")


def test_a_damaged_export_is_named_and_replaced(tmp_path):
    train(tmp_path, "learning")
    (tmp_path / "backbone.pth").write_bytes(b"PK\x03\x04 half")
    said, meta = train(tmp_path, "learning", "not learning", resume=True)
    assert meta["epoch"] == 2
    assert "cut off" in said.one("The next checkpoint that is fit replaces it")


def test_of_several_checkpoints_every_nth_and_the_last_are_exported(tmp_path):
    said, _ = train(tmp_path, *["learning"] * 5, interval=2)
    exported = [line.split()[-2] for line in said if "now of" in line]
    assert exported == ["epoch_2.pth", "epoch_4.pth", "epoch_5.pth"]


def test_a_full_disk_stops_neither_training_nor_loses_the_export(tmp_path, monkeypatch):
    def fails(self, path):
        raise OSError(28, "No space left on device")

    class FillDisk(Hook):
        def after_train_epoch(self, runner):
            if runner.epoch == 1:
                monkeypatch.setattr("xmoco_plugin.export.BackboneFile.write", fails)

    said, meta = train(tmp_path, "learning", "learning", hooks=[FillDisk()])
    assert meta["epoch"] == 1
    assert "No space left on device; backbone.pth stays" in said.one("epoch_2.pth is held back")


class Collapse(Hook):
    """From the third epoch on, the network's output is the same for all images."""

    def before_train_iter(self, runner, batch_idx, data_batch=None):
        if runner.epoch >= 2:
            for encoder in (runner.model.neck, runner.model.encoder_k):
                last = [m for m in encoder.modules() if isinstance(m, torch.nn.Linear)][-1]
                last.weight.data.zero_()
                last.bias.data.fill_(1.0)


@pytest.mark.parametrize("validate", [False, True])
def test_a_run_that_collapses_under_a_real_health_hook_keeps_its_last_healthy_epoch(
    tmp_path, validate
):
    model = models.config(momentum=0.99, queue_len=4, data_preprocessor=PREPROCESSOR)
    runner = health_run.build(
        tmp_path,
        model=model,
        hooks=[dict(type="HealthyExportHook")],
        validate=validate,
        train_cfg=dict(type="EpochBasedTrainLoop", max_epochs=3, val_interval=1),
        optim_wrapper=dict(optimizer=dict(type="SGD", lr=1e-6)),
    )
    runner.register_hook(Collapse())
    said = listen(runner)
    runner.train()
    assert runner.message_hub.get_info(VERDICT)["verdict"] == "collapsing"
    assert record(tmp_path)["epoch"] == 2
    assert record(tmp_path)["verdict"] in ("learning", "not learning")
    assert "it is collapsing" in said.one("epoch_3.pth is held back")


def test_a_validation_alone_exports_nothing(tmp_path):
    train(tmp_path, "learning")
    (tmp_path / "backbone.pth").unlink()
    runner = tiny_runner.build(
        tmp_path, [dict(type="HealthyExportHook")], validate=True, resume=True
    )
    runner.load_or_resume()
    runner.val()
    assert record(tmp_path) is None


def train_distributed(rank, size, folder):
    """A run on two processes; how often this rank wrote a file."""
    from xmoco_plugin.export import BackboneFile

    written, write = [], BackboneFile.write
    BackboneFile.write = lambda self, path: written.append(path) or write(self, path)
    runner = health_run.build(
        folder,
        hooks=[dict(type="HealthyExportHook")],
        launcher="pytorch",
        model_wrapper_cfg=dict(
            type="MMDistributedDataParallel", broadcast_buffers=False, device_ids=None
        ),
    )
    runner.train()
    return len(written)


def test_of_two_processes_the_first_alone_writes(tmp_path, monkeypatch):
    monkeypatch.setenv("LOCAL_RANK", "0")
    assert run_processes(train_distributed, 2, str(tmp_path)) == [2, 0]
    assert record(tmp_path)["epoch"] == 2


def test_intervals_below_one_are_refused(tmp_path):
    with pytest.raises(ValueError, match="got 0"):
        tiny_runner.build(tmp_path, [dict(type="HealthyExportHook", interval=0)])
