# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the command lines of tools/train.py and test.py make of a config."""

import argparse
import json

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from xmoco_plugin.cli import start

from ..tool_modules import ROOT, import_tool, parse, run_tool
from ..tools_config import CONFIG
from .command import run_train

VALIDATION = """
val_dataloader = dict(batch_size=2, num_workers=1, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ConcatDataset', datasets=[
        dict(type='CustomDataset', data_root='a'), dict(type='CustomDataset', data_root='b')]))
val_cfg = dict(type='KNNValLoop', bank_dataloader=dict(batch_size=2, num_workers=1,
    dataset=dict(type='CustomDataset', data_root='c')))
val_evaluator = dict(type='Accuracy')
"""


def merged(tools, monkeypatch, config, *arguments) -> Config:
    train, common = tools
    args = parse(train, config, *arguments)
    start.read_config_options(args)
    cfg = common.load_config(args.config)
    train.merge(cfg, args)
    return cfg


def test_data_root_reaches_every_dataset_also_wrapped_ones_and_the_bank(tools, monkeypatch, config):
    config.write_text(CONFIG + VALIDATION)
    cfg = merged(tools, monkeypatch, config, "--data-root", "x")
    assert [data.data_root for data in tools[1].datasets(cfg)] == ["x"] * 4


def test_data_root_is_refused_where_no_dataset_reads_a_folder(tools, monkeypatch, capsys):
    demo = ROOT / "configs" / "demo" / "xmoco_r18_1xb128_patches.py"
    status, message = run_train(tools, monkeypatch, capsys, demo, "--data-root", "x")
    assert status == 2
    assert "--data-root x: no dataset of" in message


def test_no_validate_removes_the_loop_and_its_data_need_not_exist(
    tools, monkeypatch, config, images
):
    config.write_text(CONFIG.replace("'missing'", repr(str(images))) + VALIDATION)
    with pytest.raises(FileNotFoundError, match="data_root='a'"):
        tools[1].check_data(merged(tools, monkeypatch, config))
    cfg = merged(tools, monkeypatch, config, "--no-validate")
    assert cfg.val_cfg is cfg.val_dataloader is cfg.val_evaluator is None
    tools[1].check_data(cfg)


def test_command_line_settings_win_and_workers_stay_consistent(tools, monkeypatch, config):
    config.write_text(CONFIG + VALIDATION)
    cfg = merged(tools, monkeypatch, config, "--cfg-options", "val_dataloader.num_workers=0")
    # torch refuses persistent workers where there are none.
    assert cfg.val_dataloader.persistent_workers is False
    assert cfg.val_cfg.bank_dataloader.persistent_workers is True
    cfg = merged(tools, monkeypatch, config, "--no-persistent-workers", "--no-pin-memory")
    loaders = list(tools[1].dataloaders(cfg))
    assert len(loaders) == 3
    assert not any(loader.persistent_workers or loader.pin_memory for loader in loaders)


@pytest.mark.skipif(torch.cuda.is_available(), reason="about machines without an accelerator")
def test_amp_and_pinned_memory_need_an_accelerator(tools, monkeypatch, config):
    assert merged(tools, monkeypatch, config).train_dataloader.pin_memory is False
    with pytest.raises(ValueError, match="--amp needs an accelerator"):
        merged(tools, monkeypatch, config, "--amp")


def test_scaling_the_learning_rate_needs_to_know_its_batch(tools, monkeypatch, config):
    with pytest.raises(ValueError, match="auto_scale_lr"):
        merged(tools, monkeypatch, config, "--auto-scale-lr")
    config.write_text(CONFIG + "auto_scale_lr = dict(base_batch_size=256)\n")
    assert merged(tools, monkeypatch, config, "--auto-scale-lr").auto_scale_lr.enable is True


SELF_BANK = """
val_dataloader = dict(batch_size=16, num_workers=0,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='PhotoPatches', split='test', indices=48, pipeline=[dict(type='PackInputs')]))
val_cfg = dict(type='KNNValLoop', k=1, bank_dataloader=val_dataloader)
val_evaluator = dict(type='Accuracy')
default_hooks = dict(checkpoint=dict(type='CheckpointHook', save_best='accuracy/top1'))
"""


def test_a_checkpoint_is_tested_by_the_validation_loop_where_there_is_no_other(
    tools, monkeypatch, capsys, config
):
    pytest.importorskip("skimage")
    config.write_text(CONFIG + SELF_BANK)
    model = MODELS.build(Config.fromfile(str(config)).model)
    torch.save({"state_dict": model.state_dict()}, config.parent / "weights.pth")
    out = config.parent / "metrics.json"
    arguments = [config, config.parent / "weights.pth", "--work-dir", config.parent, "--out", out]
    assert run_tool(import_tool("test"), monkeypatch, *arguments) == 0
    # Every query is in the bank and finds itself.
    assert json.loads(out.read_text()) == {"accuracy/top1": 100.0}
    # A part of them would be tested with the rest as it was drawn.
    state = {k: v for k, v in model.state_dict().items() if k.startswith("backbone.")}
    for name, weights, said in (
        ("backbone.pth", state, "holds a backbone alone, and the model of this config also has "),
        ("other.pth", {"conv1.weight": torch.ones(1)}, "has no weights of this config's model"),
    ):
        torch.save({"state_dict": weights}, config.parent / name)
        arguments[1] = config.parent / name
        assert run_tool(import_tool("test"), monkeypatch, *arguments) == 2
        (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error: ")]
        assert line.startswith(f"error: {config.parent / name} {said}")


def test_an_inherited_configs_collate_function_can_be_called(tools):
    _, common = tools
    cfg = common.load_config(str(ROOT / "configs/xmoco_r50_1xb64_folder.py"))
    common.merge_common(
        cfg,
        argparse.Namespace(
            local_rank=0, launcher="none", work_dir="x", config="x", data_root=None,
            cfg_options=None, no_pin_memory=True,
        ),
        {},
    )  # fmt: skip
    assert cfg.train_dataloader.collate_fn.to_dict() == dict(type="default_collate")
