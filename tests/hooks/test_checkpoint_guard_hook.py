# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os

import pytest
import torch

from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint

from .. import models, tiny_runner

GUARD = [dict(type="CheckpointGuardHook")]


class RunsACommand:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def model(kind: str = "XMoCo", **options) -> dict:
    return models.config(
        kind,
        data_preprocessor=dict(type="SelfSupDataPreprocessor", mean=[128.0] * 3, std=[64.0] * 3),
        **options,
    )


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    tiny_runner.build(folder).train()
    return folder / "epoch_2.pth"


def more(tmp_path, source, resume: bool, **options):
    return tiny_runner.build(
        tmp_path,
        hooks=GUARD,
        resume=resume,
        load_from=str(source),
        train_cfg=dict(by_epoch=True, max_epochs=3),
        **options,
    )


@pytest.mark.parametrize("resume", [True, False])
def test_another_architecture_is_refused_with_keys_and_shapes_before_anything_changes(
    trained, tmp_path, resume
):
    runner = more(tmp_path, trained, resume, model=model(queue_len=20, feat_dim=8))
    before = {key: value.clone() for key, value in runner.model.state_dict().items()}
    with pytest.raises(CheckpointError) as error:
        runner.train()
    assert "queue: checkpoint (8, 24), model (8, 20)" in str(error.value)
    assert "1 of another shape" in str(error.value)
    # init_weights comes before loading; the queue is no weight and nobody else touches it.
    assert torch.equal(before["queue"], runner.model.queue)
    assert runner.iter == 0


@pytest.mark.parametrize("resume", [True, False])
def test_a_layer_of_one_side_is_an_error_on_resume_and_else_one_warning(trained, tmp_path, resume):
    runner = more(
        tmp_path,
        trained,
        resume,
        model=model(norm=False, backbone=dict(type="TinyEncoder", norm=False)),
    )
    if resume:
        with pytest.raises(CheckpointError, match="10 in the checkpoint only"):
            runner.train()
        return
    lines = []
    runner.logger.warning = lines.append
    runner.train()
    named = [line for line in lines if "backbone.norm.weight" in line]
    assert len(named) == 1


def test_weights_of_another_world_are_refused(tmp_path):
    torch.save({"state_dict": {"a": torch.ones(1), "b": torch.ones(1)}}, tmp_path / "w.pth")
    with pytest.raises(CheckpointError, match=r"0 of \d+ keys in common"):
        more(tmp_path, tmp_path / "w.pth", resume=False).train()


@pytest.mark.parametrize(("first", "then"), [("MoCo", "XMoCo"), ("XMoCo", "MoCo")])
def test_moco_and_xmoco_resume_each_other(tmp_path, first, then):
    tiny_runner.build(tmp_path / "a", model=model(first)).train()
    path = tmp_path / "a" / "epoch_2.pth"
    runner = more(tmp_path / "b", path, resume=True, model=model(then))
    runner.train()
    steps = read_checkpoint(tmp_path / "b" / "epoch_3.pth")["state_dict"]["encoder_k.steps"]
    assert int(steps) == 12


def test_weights_of_a_wrapped_model_fit(trained, tmp_path):
    checkpoint = read_checkpoint(trained)
    checkpoint["state_dict"] = {f"module.{k}": v for k, v in checkpoint["state_dict"].items()}
    torch.save(checkpoint, tmp_path / "wrapped.pth")
    more(tmp_path, tmp_path / "wrapped.pth", resume=True).train()


@pytest.mark.parametrize("resume", [True, False])
def test_a_hostile_checkpoint_is_refused_and_never_runs(tmp_path, resume):
    marker = tmp_path / "marker"
    torch.save({"state_dict": {}, "x": RunsACommand(f"touch {marker}")}, tmp_path / "bad.pth")
    with pytest.raises(CheckpointError, match=r"system"):
        more(tmp_path, tmp_path / "bad.pth", resume).train()
    assert not marker.exists()


def test_automatic_resume_from_a_truncated_file_names_the_older_checkpoint(tmp_path):
    tiny_runner.build(tmp_path).train()
    last = tmp_path / "epoch_2.pth"
    last.write_bytes(last.read_bytes()[:5000])
    runner = tiny_runner.build(tmp_path, hooks=GUARD, resume=True)
    with pytest.raises(CheckpointError, match=r"cut off.*Others in .*epoch_1\.pth"):
        runner.train()


def test_a_backbone_alone_is_loaded_without_a_warning_and_all_else_begins_anew(
    trained, tmp_path, capfd
):
    state = read_checkpoint(trained)["state_dict"]
    parts = ("backbone.", "encoder_k.module.0.")
    alone = {key: value for key, value in state.items() if key.startswith(parts)}
    torch.save({"state_dict": alone, "meta": {"backbone_alone": True}}, tmp_path / "init.pth")
    runner = more(tmp_path / "new", tmp_path / "init.pth", resume=False)
    at_start = {}
    load = runner.load_or_resume

    def loaded():
        at_start["before"] = {k: v.clone() for k, v in runner.model.state_dict().items()}
        load()
        at_start["after"] = {k: v.clone() for k, v in runner.model.state_dict().items()}

    runner.load_or_resume = loaded
    runner.train()
    for key, value in at_start["after"].items():
        expected = alone[key] if key in alone else at_start["before"][key]
        assert torch.equal(value, expected), key
    assert not torch.equal(
        at_start["before"]["backbone.conv.weight"], alone["backbone.conv.weight"]
    )
    said = "".join(capfd.readouterr())
    assert "missing keys" not in said
    assert "do not match exactly" not in said
    assert "The checkpoint fits" not in said
