# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A checkpoint that a training goes on from gives the host no orders, and must be a training's."""

import pytest
import torch
from mmengine.logging import MMLogger

from xmoco_plugin.weights import CheckpointError, check_resumable, read_checkpoint, without_orders

from .. import tiny_runner
from .hostile import honest


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """The checkpoint of a real run of one epoch, with the best of it beside."""
    folder = tmp_path_factory.mktemp("trained")
    runner = tiny_runner.build(folder, **best(1))
    runner.train()
    assert list(folder.glob("best_*.pth"))
    return folder / "epoch_1.pth"


def best(epochs: int) -> dict:
    return dict(
        validate=True,
        train_cfg=dict(by_epoch=True, max_epochs=epochs, val_interval=1),
        default_hooks=dict(
            checkpoint=dict(
                type="CheckpointHook", interval=1, save_best="accuracy/top1", rule="greater"
            )
        ),
    )


def test_a_config_that_is_stored_is_not_run_when_a_training_goes_on(trained, tmp_path):
    mark = tmp_path / "MARK"
    checkpoint = read_checkpoint(trained)
    checkpoint["meta"]["config"] = f"import os\nos.mkdir({str(mark)!r})\n"
    torch.save(checkpoint, tmp_path / "epoch_1.pth")
    runner = tiny_runner.build(
        tmp_path / "work", **best(1), resume=True, load_from=str(tmp_path / "epoch_1.pth")
    )
    runner.train()
    assert runner.epoch == 1
    assert not mark.exists()


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_what_a_checkpoint_calls_its_best_is_not_removed_unless_it_lies_beside_it(
    trained, tmp_path, kind
):
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "best_photo.pth").write_text("kept")
    checkpoint = read_checkpoint(trained)
    info = checkpoint["message_hub"]["runtime_info"]
    info["best_ckpt"] = str(precious / "best_photo.pth" if kind == "file" else precious)
    info["best_score"] = -1.0  # so that the next one is better
    torch.save(checkpoint, tmp_path / "epoch_1.pth")
    tiny_runner.build(
        tmp_path / "work", **best(2), resume=True, load_from=str(tmp_path / "epoch_1.pth")
    ).train()
    assert (precious / "best_photo.pth").read_text() == "kept"


def test_an_honest_run_still_knows_its_best_and_its_steps(trained):
    checkpoint = read_checkpoint(trained)
    info = checkpoint["message_hub"]["runtime_info"]
    assert info["best_ckpt"] == str(next(trained.parent.glob("best_*.pth")))
    info["keep_ckpt_ids"] = [1, 2]
    assert without_orders(checkpoint, trained.parent)["message_hub"]["runtime_info"] == info
    info["keep_ckpt_ids"] = ["../../1"]
    kept = without_orders(checkpoint, trained.parent)["message_hub"]["runtime_info"]
    assert kept == {key: value for key, value in info.items() if key != "keep_ckpt_ids"}
    check_resumable(checkpoint)


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("meta", None),
        ("meta", ["epoch"]),
        ("meta", {"epoch": 1}),
        ("meta", {"epoch": "1", "iter": 4}),
        ("meta", {"epoch": -1, "iter": 4}),
        ("meta", {"epoch": 1, "iter": 4, "seed": "x"}),
        ("message_hub", None),
        ("message_hub", {"log_scalars": {}}),
        ("message_hub", {"log_scalars": [], "runtime_info": {}, "resumed_keys": {}}),
    ],
)
def test_what_no_training_has_stored_is_not_gone_on_from(part, value):
    hub = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
    whole = {"meta": {"epoch": 1, "iter": 4}, "message_hub": hub, "state_dict": honest()}
    check_resumable(whole)
    with pytest.raises(CheckpointError, match=r"not what a training stores .*load_from=FILE"):
        check_resumable(whole | {part: value})


def test_what_a_load_forgets_is_not_told_at_each_load(trained, tmp_path):
    logger = MMLogger.get_instance("forgets", log_file=str(tmp_path / "log.txt"))
    kept = without_orders(read_checkpoint(trained), tmp_path)["message_hub"]["runtime_info"]
    logger.info("loaded")
    assert "best_ckpt" not in kept
    said = (tmp_path / "log.txt").read_text()
    assert "loaded" in said
    assert "forgotten" not in said
