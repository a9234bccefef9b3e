# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a config's run would load is found at any depth, and read before anything is built."""

import os

import pytest
import torch
from mmengine.config import Config
from mmengine.model import PretrainedInit

from xmoco_plugin.downstream import from_scratch, pretrained_starts
from xmoco_plugin.weights import CheckpointError, check_named_weights, named_weights

from .hostile import honest, with_code


def config(tmp_path, **settings) -> Config:
    return Config(
        dict(work_dir=str(tmp_path), train_cfg=dict(max_epochs=1), model=dict(type="X")) | settings
    )


def pretrained(path, **others) -> dict:
    return dict(type="Pretrained", checkpoint=str(path)) | others


HUB = {"log_scalars": {}, "runtime_info": {}, "resumed_keys": {}}
PLACES = {
    "model.init_cfg.checkpoint": lambda p: dict(model=dict(type="X", init_cfg=pretrained(p))),
    "model.backbone.init_cfg.1.checkpoint": lambda p: dict(
        model=dict(backbone=dict(init_cfg=[dict(type="Constant"), pretrained(p)]))
    ),
    "model.heads.0.1.init_cfg.checkpoint": lambda p: dict(
        model=dict(heads=[[dict(), dict(init_cfg=dict(type=PretrainedInit, checkpoint=str(p)))]])
    ),
    "model.pretrained": lambda p: dict(model=dict(pretrained=str(p), backbone=dict())),
    "model.backbone.pretrained": lambda p: dict(model=dict(backbone=dict(pretrained=str(p)))),
    "custom_hooks.0.part.init_cfg.checkpoint": lambda p: dict(
        custom_hooks=[dict(part=dict(init_cfg=pretrained(p, type="mmengine.model.PretrainedInit")))]
    ),
}


@pytest.mark.parametrize("place", PLACES)
def test_code_is_refused_and_not_run_wherever_the_config_names_it(tmp_path, place):
    file, mark = with_code(tmp_path)
    cfg = config(tmp_path, **PLACES[place](file))
    assert [(n.place, n.checkpoint) for n in named_weights(cfg)] == [(place, str(file))]
    with pytest.raises(CheckpointError, match=f"^{place}: .*mkdir, which could do anything"):
        check_named_weights(cfg)
    assert not mark.exists()
    torch.save({"state_dict": honest()}, file)
    check_named_weights(cfg)


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://example.org/w.pth", "is plain http"),
        ("ftp://example.org/w.pth", "not read from ftp://; read are http, https"),
        ("file:///w.pth", "name the path itself"),
        ("x.pth", "There is no checkpoint x.pth"),
    ],
)
def test_plain_http_and_what_no_loader_reads_are_refused_at_once(tmp_path, place, url, reason):
    with pytest.raises(CheckpointError, match=reason):
        check_named_weights(config(tmp_path, **PLACES[place](url)))


def test_names_of_lists_and_https_wait_for_the_loader_and_a_cached_file_does_not(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    names = ("torchvision://resnet50", "open-mmlab://a", "mmcls://b", "https://example.org/w.pth")
    for name in names:
        check_named_weights(config(tmp_path, load_from=name, resume=False))
    (tmp_path / "hub" / "checkpoints").mkdir(parents=True)
    _, mark = with_code(tmp_path, "hub/checkpoints/w.pth")
    with pytest.raises(CheckpointError, match="could do anything"):
        check_named_weights(config(tmp_path, load_from=names[-1]))
    assert not mark.exists()


@pytest.mark.parametrize("value", [True, None, ""])
def test_a_pretrained_that_is_no_name_is_left_alone(tmp_path, value):
    check_named_weights(config(tmp_path, model=dict(backbone=dict(pretrained=value))))


def test_a_checkpoint_that_is_a_number_is_named(tmp_path):
    cfg = config(tmp_path, model=dict(init_cfg=dict(type="Pretrained", checkpoint=5)))
    with pytest.raises(CheckpointError, match="'5' is a int and names no checkpoint"):
        check_named_weights(cfg)


def test_what_is_only_tested_does_not_need_what_it_once_started_from(tmp_path):
    cfg = config(tmp_path, model=dict(pretrained="gone.pth"), train_cfg=None)
    check_named_weights(cfg)


def test_the_last_checkpoint_of_a_resumed_run_is_read_with_its_optimizer(tmp_path):
    cfg = config(tmp_path, resume=True)
    check_named_weights(cfg)  # nothing to go on from: the run begins
    pointer = tmp_path / "last_checkpoint"
    bad = {"state": {0: {"momentum_buffer": torch.tensor(torch.inf)}}}
    state = {"meta": {"epoch": 1, "iter": 4}, "message_hub": HUB, "state_dict": honest()}
    torch.save(state | {"optimizer": bad}, tmp_path / "epoch_1.pth")
    pointer.write_text(str(tmp_path / "epoch_1.pth"))
    with pytest.raises(CheckpointError, match="1 of the 1 tensors of its optimizer"):
        check_named_weights(cfg)
    cfg.resume, cfg.load_from = False, str(tmp_path / "epoch_1.pth")
    check_named_weights(cfg)


@pytest.mark.parametrize(
    "content", [b"", b"\x80\x04\x95\xff\x00", b"http://example.org/w.pth", b"a\x1b[2J", b"a\nb"]
)
def test_a_last_checkpoint_that_names_no_file_is_said_and_never_printed_raw(tmp_path, content):
    (tmp_path / "last_checkpoint").write_bytes(content)
    with pytest.raises(CheckpointError, match="last_checkpoint") as error:
        check_named_weights(config(tmp_path, resume=True))
    assert str(error.value).isprintable()


def test_a_last_checkpoint_that_is_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "last_checkpoint")
    with pytest.raises(CheckpointError, match="a named pipe"):
        check_named_weights(config(tmp_path, resume=True))


def test_a_list_of_init_cfg_loses_only_what_reads_a_checkpoint():
    init = [dict(type="Constant", val=1), pretrained("a.pth", prefix="backbone.")]
    cfg = Config(dict(model=dict(backbone=dict(init_cfg=init), neck=dict(init_cfg=init[1]))))
    assert [start.checkpoint for start in pretrained_starts(cfg)] == ["a.pth", "a.pth"]
    from_scratch(cfg)
    assert cfg.model.backbone.init_cfg == [dict(type="Constant", val=1)]
    assert cfg.model.neck.init_cfg is None
