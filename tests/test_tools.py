# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/train.py and what it shares with test.py: options, and errors that a user can mend."""

import argparse
import importlib
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from mmengine.config import Config
from mmpretrain.registry import MODELS

from .tool_modules import heed_ctrl_c, wait_for_file
from .tools_config import CONFIG, draw

ROOT = Path(__file__).resolve().parents[1]


def load_tool(name: str):
    """Imports tools/`name`.py; the standard library has a `test` of its own."""
    spec = importlib.util.spec_from_file_location(f"tool_{name}", ROOT / "tools" / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def tools():
    """The modules train and common of tools/, which is no package."""
    sys.path.insert(0, str(ROOT / "tools"))
    try:
        yield load_tool("train"), importlib.import_module("common")
    finally:
        sys.path.remove(str(ROOT / "tools"))


@pytest.fixture
def config(tmp_path) -> Path:
    return draw(tmp_path)


@pytest.fixture
def images(config) -> Path:
    return config.parent / "images"


def run_train(tools, monkeypatch, capsys, *arguments) -> tuple[int, str]:
    """Runs tools/train.py's main as a script would; returns its exit status and stderr."""
    train, common = tools
    monkeypatch.setattr(sys, "argv", ["train.py", *map(str, arguments)])
    status = common.run(train.main)
    return status, capsys.readouterr().err


def test_a_missing_data_root_ends_with_one_message_and_the_way_out(config, tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "tools" / "train.py"), str(config), "--data-root", "no/such"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    message = done.stderr[done.stderr.index("error: ") :]
    assert "data_root='no/such'" in message
    assert str(tmp_path) in message
    assert "--data-root FOLDER" in message
    assert not (tmp_path / "work_dirs").exists()


def test_a_missing_ann_file_is_named(tools, monkeypatch, capsys, config, images):
    option = "train_dataloader.dataset.ann_file=list.txt"
    status, message = run_train(
        tools, monkeypatch, capsys, config, "--data-root", images, "--cfg-options", option
    )
    assert status == 2
    assert f"ann_file='list.txt' names {images / 'list.txt'}" in message


def test_a_missing_config_is_named(tools, monkeypatch, capsys):
    status, message = run_train(tools, monkeypatch, capsys, "configs/nothing.py")
    assert status == 2
    assert "'configs/nothing.py'" in message


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", None])
def test_a_checkpoint_that_cannot_be_read_ends_with_one_message(
    tools, monkeypatch, capsys, config, images, tmp_path, content
):
    checkpoint = tmp_path / "epoch_1.pth"
    if content is not None:
        checkpoint.write_bytes(content)
    status, message = run_train(
        tools, monkeypatch, capsys, config, "--data-root", images, "--resume", checkpoint
    )
    assert status == 2
    assert str(checkpoint) in message


class Opened:
    """An object whose unpickling runs code: it creates a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self):
        return open, (str(self.path), "w")


def test_code_in_a_checkpoint_does_not_run_on_auto_resume(
    tools, monkeypatch, capsys, config, images, tmp_path
):
    work = tmp_path / "work"
    work.mkdir()
    torch.save({"state_dict": {}, "meta": Opened(tmp_path / "ran")}, work / "epoch_1.pth")
    (work / "last_checkpoint").write_text(str(work / "epoch_1.pth"))
    options = ["--data-root", images, "--work-dir", work, "--resume"]
    status, message = run_train(tools, monkeypatch, capsys, config, *options)
    assert status == 2
    assert "needs code to be read" in message
    assert not (tmp_path / "ran").exists()


def test_an_error_of_ours_inside_the_host_is_still_one_message(
    tools, monkeypatch, capsys, config, images
):
    status, message = run_train(
        tools, monkeypatch, capsys, config, "--data-root", images,
        "--cfg-options", "model.head.consistency.target=nonsense",
    )  # fmt: skip
    assert status == 2
    assert "nonsense" in message


def test_a_misspelt_setting_is_named_without_a_traceback(
    tools, monkeypatch, capsys, config, images
):
    for option, message in (
        (
            "model.head.consistency.loss_wieght=2",
            "CrossConsistencyLoss has no setting 'loss_wieght'",
        ),
        ("model.backbone.dpth=18", "ResNet has no setting 'dpth'"),
    ):
        status, printed = run_train(
            tools, monkeypatch, capsys, config, "--data-root", images, "--cfg-options", option
        )
        assert status == 2
        assert message in printed


def test_an_error_of_the_hosts_keeps_its_traceback(tools, monkeypatch, capsys, config, images):
    with pytest.raises(KeyError, match="NoSuchModel"):
        run_train(
            tools, monkeypatch, capsys, config, "--data-root", images,
            "--cfg-options", "model.type=NoSuchModel",
        )  # fmt: skip


WAITS = """
import time
from mmengine.hooks import Hook
from mmpretrain.registry import HOOKS

@HOOKS.register_module()
class Waits(Hook):
    def __init__(self, epoch, begun):
        self.epoch, self.begun = epoch, begun

    def after_train_iter(self, runner, *args, **kwargs):
        if runner.epoch == self.epoch:
            open(self.begun, "w").close()
            time.sleep(60)
"""


def interrupted(arguments: list, path: str, ready: Path) -> tuple[int, str, str]:
    """Starts a tool, sends it Ctrl-C's signal once `ready` is there; returns how it ended."""
    process = subprocess.Popen(
        [sys.executable, *map(str, arguments)],
        env=os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=heed_ctrl_c,
    )
    try:
        wait_for_file(ready, process, 120)
        process.send_signal(signal.SIGINT)
        printed, said = process.communicate(timeout=60)
    finally:
        process.kill()
    return process.returncode, printed, said


def test_ctrl_c_ends_training_with_one_line_that_says_how_to_go_on(config, images, tmp_path):
    work = tmp_path / "work"
    train = [ROOT / "tools" / "train.py", config, "--data-root", images, "--work-dir", work]
    train += ["--cfg-options", "train_cfg.max_epochs=3"]
    # Always at the same place: in some (an object's end, a callback of the garbage collector)
    # Python passes over an interrupt.
    (tmp_path / "waits.py").write_text(WAITS)
    path = os.pathsep.join([str(ROOT), str(tmp_path)])
    ends = {}
    for epoch in (1, 0):
        begun = tmp_path / f"begun_{epoch}"
        hook = dict(type="Waits", epoch=epoch, begun=str(begun))
        config.write_text(
            CONFIG.replace("'xmoco_plugin'", "'xmoco_plugin', 'waits'") + f"custom_hooks = [{hook}]"
        )
        status, printed, said = interrupted(train, path, begun)
        assert status == 130
        assert "Traceback" not in printed + said
        ends[epoch] = said.splitlines()[-1]
    newest = (work / "last_checkpoint").read_text()
    assert ends[1] == f"stopped; the same command with --resume goes on from {newest}"
    # The newest is not the second run's, so it is not what to go on from.
    assert ends[0].startswith("stopped before the first checkpoint")


def test_ctrl_c_while_the_hosts_are_imported_leaves_no_traceback(tmp_path):
    ready = tmp_path / "ready"
    (tmp_path / "torch.py").write_text(f"import time\nopen({str(ready)!r}, 'w')\ntime.sleep(60)\n")
    path = os.pathsep.join([str(tmp_path), str(ROOT)])
    status, printed, said = interrupted([ROOT / "tools" / "train.py", "--help"], path, ready)
    assert (status, printed, said) == (-signal.SIGINT, "", "")


def merged(tools, monkeypatch, config, *arguments) -> Config:
    train, common = tools
    monkeypatch.setattr(sys, "argv", ["train.py", str(config), *map(str, arguments)])
    args = train.parse_args()
    cfg = common.load_config(args.config)
    train.merge(cfg, args)
    return cfg


VALIDATION = """
val_dataloader = dict(batch_size=2, num_workers=1, persistent_workers=True,
    sampler=dict(type='DefaultSampler', shuffle=False),
    dataset=dict(type='ConcatDataset', datasets=[
        dict(type='CustomDataset', data_root='a'), dict(type='CustomDataset', data_root='b')]))
val_cfg = dict(type='KNNValLoop', bank_dataloader=dict(batch_size=2, num_workers=1,
    dataset=dict(type='CustomDataset', data_root='c')))
val_evaluator = dict(type='Accuracy')
"""


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
    tools, monkeypatch, config
):
    pytest.importorskip("skimage")
    config.write_text(CONFIG + SELF_BANK)
    model = MODELS.build(Config.fromfile(str(config)).model)
    torch.save({"state_dict": model.state_dict()}, config.parent / "weights.pth")
    out = config.parent / "metrics.json"
    arguments = [config, config.parent / "weights.pth", "--work-dir", config.parent, "--out", out]
    monkeypatch.setattr(sys, "argv", ["test.py", *map(str, arguments)])
    assert tools[1].run(load_tool("test").main) == 0
    # Every query is in the bank and finds itself.
    assert json.loads(out.read_text()) == {"accuracy/top1": 100.0}


@pytest.mark.parametrize("script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh"])
def test_shell_tools_without_arguments_say_how_to_call_them(script):
    done = subprocess.run(
        ["bash", str(ROOT / "tools" / script)], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")


@pytest.mark.parametrize(
    "script", ["dist_train.sh", "dist_test.sh", "slurm_train.sh", "transfer.sh"]
)
def test_shell_tools_start_the_named_python_else_the_checkouts_else_paths(script, tmp_path):
    folder = shutil.copytree(ROOT / "tools", tmp_path / "a checkout" / "tools")
    (tmp_path / "bin").mkdir()

    def program(path: Path, does: str) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"#!/bin/bash\n{does}\n")
        path.chmod(0o755)
        return path

    def started(**env: str) -> str:
        done = subprocess.run(
            ["bash", folder / script, "partition", "2", "2", "work"],
            env={"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", **env},
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    # Slurm's srun starts the program that stands behind its options.
    program(tmp_path / "bin" / "srun", 'while [[ $1 != *python ]]; do shift; done; exec "$@"')
    program(tmp_path / "bin" / "python", "echo of PATH")
    assert started() == "of PATH\n"
    program(folder.parent / ".venv" / "bin" / "python", "echo of the checkout")
    assert started() == "of the checkout\n"
    other = program(tmp_path / "another" / "python", "echo of the environment")
    assert started(PYTHON=str(other)) == "of the environment\n"


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
