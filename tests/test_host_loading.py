# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Whatever the host loads goes through our reader, whichever scheme or variable says otherwise."""

import json
import os
import sys
import types
from functools import partial
from pathlib import Path

import pytest
import torch
from mmengine.runner import CheckpointLoader, load_checkpoint
from mmpretrain.registry import MODELS

from xmoco_plugin import _host_loading
from xmoco_plugin._host_loading import read_for_the_host, weights_only_everywhere
from xmoco_plugin.cli import door
from xmoco_plugin.weights import CheckpointError

from . import models, tiny_runner
from .weights.hostile import honest, with_code
from .weights.server import serving


@pytest.fixture
def bad(tmp_path, monkeypatch):
    """The address of a file with code, its path, and the mark it would leave."""
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("MMENGINE_HOME", str(tmp_path / "mmengine"))
    file, mark = with_code(tmp_path)
    with serving({"/weights.pth": (200, {}, file.read_bytes())}) as (address, _):
        yield f"{address}/weights.pth", file, mark


def test_every_scheme_that_the_host_knows_ends_in_a_loader_of_ours():
    loaders = CheckpointLoader._schemes
    assert len(loaders) >= 11
    assert {loader.__module__ for loader in loaders.values()} == {_host_loading.__name__}
    read_for_the_host()  # twice does no harm
    assert CheckpointLoader._schemes == loaders


def test_each_documented_scheme_refuses_code_and_does_not_run_it(bad, tmp_path, monkeypatch):
    url, file, mark = bad
    lists = {"a": url, "b": os.path.relpath(file, tmp_path / "mmengine")}
    (tmp_path / "mmengine").mkdir()
    (tmp_path / "mmengine" / "open_mmlab.json").write_text(json.dumps(lists))
    monkeypatch.setattr(_host_loading.host, "get_torchvision_models", lambda: lists)
    monkeypatch.setattr(_host_loading.host, "get_mmcls_models", lambda: lists)
    content = file.read_bytes()
    monkeypatch.setattr(_host_loading.fileio, "get", lambda name, backend_args: content)
    model = types.SimpleNamespace(download=lambda to: Path(to).write_bytes(content))
    cloud = types.SimpleNamespace(modelcloud=types.SimpleNamespace(get=lambda name: model))
    monkeypatch.setitem(sys.modules, "pavi", cloud)
    for name in (
        *(str(file), url, "torchvision://a", "modelzoo://a", "open-mmlab://a", "openmmlab://a"),
        *("openmmlab://b", "mmcls://a", "s3://a/b", "x:s3://a/b", "petrel://a", "pavi://a"),
    ):
        with pytest.raises(CheckpointError, match="mkdir, which could do anything"):
            CheckpointLoader.load_checkpoint(name)
        assert not mark.exists(), name


def test_honest_weights_arrive_by_name_and_by_url(bad, tmp_path, monkeypatch):
    file = tmp_path / "mmengine" / "good.pth"
    file.parent.mkdir()
    torch.save({"state_dict": honest()}, file)
    (tmp_path / "mmengine" / "open_mmlab.json").write_text(json.dumps({"a": "good.pth"}))
    assert (
        CheckpointLoader.load_checkpoint("open-mmlab://a")["state_dict"].keys() == honest().keys()
    )
    monkeypatch.setattr(_host_loading.host, "get_mmcls_models", lambda: {"a": "https://x/good.pth"})
    monkeypatch.setattr(_host_loading, "fetch", lambda url: file)
    assert "conv.weight" in CheckpointLoader.load_checkpoint("mmcls://a")["state_dict"]


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("torchvision://resnet5O", r"has no model 'resnet5O' \(did you mean resnet50"),
        ("openmmlab://no\x1bthing", r"has no model 'no\\x1bthing'"),
        ("mmcls://nothing", "has no model"),
        ("pavi://a", "needs the package pavi"),
        ("ftp://a/b.pth", "not read from ftp://"),
        ("http://example.org/w.pth", "is plain http"),
    ],
)
def test_a_name_that_leads_nowhere_is_told_in_one_sentence(name, reason):
    with pytest.raises(CheckpointError, match=reason):
        CheckpointLoader.load_checkpoint(name)


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize("way", ["init_cfg", "a list", "load_from", "resume", "load_checkpoint"])
def test_a_file_with_code_is_refused_by_each_way_into_the_host(tmp_path, way, legacy):
    file, mark = with_code(tmp_path, legacy=legacy)
    init = dict(type="Pretrained", checkpoint=str(file), prefix="backbone.")
    if way in ("init_cfg", "a list"):
        settings = dict(type="ResNet", depth=18, init_cfg=[init] if way == "a list" else init)
        load = MODELS.build(settings).init_weights
    elif way == "load_checkpoint":
        load = partial(load_checkpoint, torch.nn.Linear(1, 1), str(file))
    else:
        load = tiny_runner.build(tmp_path, load_from=str(file), resume=way == "resume").train
    with pytest.raises(CheckpointError, match="could do anything"):
        load()
    assert not mark.exists()


def test_weights_that_are_not_finite_do_not_enter_by_the_host(tmp_path):
    runner = tiny_runner.build(tmp_path)
    state = runner.model.state_dict()
    state["backbone.conv.weight"] = state["backbone.conv.weight"] * torch.nan
    torch.save({"state_dict": state}, tmp_path / "nan.pth")
    before = runner.model.backbone.conv.weight.clone()
    with pytest.raises(CheckpointError, match=r"'backbone.conv.weight' holds \d+ values"):
        runner.load_checkpoint(str(tmp_path / "nan.pth"))
    assert torch.equal(before, runner.model.backbone.conv.weight)


def test_a_whole_runs_checkpoint_is_resumed_without_any_code(tmp_path, monkeypatch):
    # With EMA, a scheduler and a validation: everything that the host puts into a file.
    options = dict(
        validate=True,
        hooks=[dict(type="EMAHook")],
        param_scheduler=[dict(type="LinearLR", start_factor=0.5, end=2)],
    )
    tiny_runner.build(tmp_path, **options).train()
    monkeypatch.setattr(torch, "load", _only_weights(torch.load))
    again = tiny_runner.build(
        tmp_path, **options, resume=True, train_cfg=dict(by_epoch=True, max_epochs=3)
    )
    again.train()
    assert again.epoch == 3


def _only_weights(load):
    def guarded(*arguments, **settings):
        assert settings.get("weights_only") is True
        return load(*arguments, **settings)

    return guarded


@pytest.mark.parametrize("value", ["1", "y", "yes", "true", "TRUE"])
def test_torchs_switch_back_to_running_code_is_taken_out_with_a_word(tmp_path, monkeypatch, value):
    file, mark = with_code(tmp_path)
    monkeypatch.setenv(_host_loading.OFF, value)
    with pytest.warns(UserWarning, match="was set: with it, torch.load runs the code"):
        read_for_the_host()
    assert _host_loading.OFF not in os.environ
    with pytest.raises(Exception, match="Weights only load failed"):
        torch.load(file)
    assert not mark.exists()


def test_within_a_tool_torch_refuses_code_even_where_a_host_asks_for_it(tmp_path, monkeypatch):
    monkeypatch.delenv(_host_loading.ON, raising=False)
    file, mark = with_code(tmp_path)
    with weights_only_everywhere():
        assert os.environ[_host_loading.ON] == "1"  # for the processes it starts
        with pytest.raises(Exception, match="Weights only load failed"):
            torch.load(file, weights_only=False)
    assert not mark.exists()
    assert _host_loading.ON not in os.environ
    monkeypatch.setenv(_host_loading.ON, "0")
    with weights_only_everywhere():
        torch.load(file, weights_only=False)
    assert mark.exists()


def test_swavs_queue_is_not_unpickled_within_a_tool(tmp_path):
    from mmpretrain.engine.hooks import SwAVHook

    mark = with_code(tmp_path, "queue.pth")[1]
    hook = SwAVHook(batch_size=4, queue_length=8)
    with weights_only_everywhere(), pytest.raises(Exception, match="Weights only load failed"):
        hook.before_run(types.SimpleNamespace(work_dir=str(tmp_path), model=None))
    assert not mark.exists()


def test_a_command_reads_nothing_before_the_reader_is_in_place():
    """The doors start `door.py`, which imports the package before it imports a command."""
    source = (Path(door.__file__)).read_text()
    package = source.index('import_module("xmoco_plugin")')
    assert package < source.index('import_module(f"xmoco_plugin.cli.{command}")')


def test_the_models_of_these_tests_have_weights_that_pass(tmp_path):
    models.save_checkpoint(tmp_path / "a.pth")
    assert CheckpointLoader.load_checkpoint(str(tmp_path / "a.pth"))["state_dict"]
