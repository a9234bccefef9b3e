# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""ResumedRunHook: a run that goes on takes numbers from its checkpoint, and no code and no path."""

from pathlib import Path

import pytest
import torch

from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.hooks import ResumedRunHook

from .. import tiny_runner


@pytest.fixture(scope="module")
def trained(tmp_path_factory) -> dict:
    """A checkpoint of one epoch."""
    folder = tmp_path_factory.mktemp("trained")
    loop = dict(type="EpochBasedTrainLoop", max_epochs=1)
    tiny_runner.build(folder, train_cfg=loop).train()
    return torch.load(folder / "epoch_1.pth", weights_only=False)


def resume(checkpoint: dict, folder: Path):
    torch.save(checkpoint, folder / "epoch_1.pth")
    runner = tiny_runner.build(folder, resume=True, load_from=str(folder / "epoch_1.pth"))
    runner.register_hook(ResumedRunHook())
    runner.train()
    return runner


def test_a_text_that_the_host_would_run_is_taken_out(trained, tmp_path):
    mark = tmp_path / "MARK"
    code = f"import os\nos.mkdir({str(mark)!r})\n"
    runner = resume({**trained, "meta": {**trained["meta"], "config": code}}, tmp_path)
    assert not mark.exists()
    assert runner.epoch == 2


def test_paths_are_those_of_the_runs_own_folder(trained, tmp_path):
    run, other = tmp_path / "run", tmp_path / "other"
    run.mkdir(), other.mkdir()
    for name in ("epoch_1.pth", "best.pth"):
        (other / name).write_bytes(b"of somebody")
    hub = trained["message_hub"]
    info = dict(
        hub["runtime_info"],
        last_ckpt=str(other / "epoch_1.pth"),
        best_ckpt=str(other / "best.pth"),
        keep_ckpt_ids=["/../../other/best", 1],
    )
    seen = {}

    class Look(ResumedRunHook):
        def before_train(self, runner):
            seen.update(runner.message_hub.runtime_info)

    torch.save({**trained, "message_hub": {**hub, "runtime_info": info}}, run / "epoch_1.pth")
    checkpoint = dict(type="CheckpointHook", interval=1, max_keep_ckpts=1)
    runner = tiny_runner.build(
        run,
        resume=True,
        load_from=str(run / "epoch_1.pth"),
        default_hooks=dict(checkpoint=checkpoint),
    )
    runner.register_hook(Look())
    runner.train()
    assert seen["last_ckpt"] == str(run / "epoch_1.pth")
    assert "best_ckpt" not in seen
    assert seen["keep_ckpt_ids"] == [1]
    assert sorted(f.name for f in other.iterdir()) == ["best.pth", "epoch_1.pth"]


@pytest.mark.parametrize(
    "change", [dict(meta=None), dict(meta=dict(epoch="1", iter=4)), dict(message_hub=[])]
)
def test_a_checkpoint_that_is_of_no_training_is_refused(trained, tmp_path, change):
    with pytest.raises(CheckpointError, match="load_from"):
        resume({**trained, **change}, tmp_path)
