# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a run's config may name."""

from pathlib import Path

import pytest

import xmoco_plugin  # noqa: F401  (registers)
from xmoco_plugin.untrusted import (
    SettingsRefusedError,
    check_run_paths,
    check_run_reads,
    check_run_settings,
)


def check_all(settings: dict) -> None:
    check_run_settings(settings)
    check_run_reads(settings)


@pytest.mark.parametrize(
    ("place", "kind"),
    [
        ("model", "ResNet"),
        ("model", "mmpretrain.ResNet"),
        ("model", "XMoCo"),
        ("custom_hooks", "mmengine.LoggerHook"),
        ("train_dataloader", "mmpretrain.CustomDataset"),
    ],
)
def test_registered_names_pass_in_their_place_and_in_no_other(place, kind):
    imports = dict(imports=["xmoco_plugin"])
    check_run_settings({place: [dict(type=kind)], "custom_imports": imports})
    other = "param_scheduler"
    with pytest.raises(SettingsRefusedError, match="no registered class"):
        check_run_settings({other: [dict(type=kind)]})


@pytest.mark.parametrize(
    "settings",
    [
        dict(model=dict(type="mmengine.runner.Runner", work_dir="elsewhere")),
        dict(model=dict(type="mmengine.Runner")),
        dict(val_dataloader=dict(dataset=dict(type="mmengine.runner.Runner"))),
        dict(train_dataloader=dict(backend_args=dict(backend="memcached", sys_path="evil"))),
        dict(note={"a': __import__('os').mkdir('x'), 'b": 1}),
        dict(compile=dict(backend="inductor", options={"cpp.cxx": ("./evil.sh",)})),
        dict(strategy=dict(type="DDPStrategy")),
        dict(runner_type="Runner"),
        dict(model=dict(type="CrossEntropyLoss", class_weight="run/w.yaml")),
        dict(model=dict(type="TIMMBackbone", model_name="hf-hub:a/b")),
        dict(model=dict(type="TIMMBackbone", model_name="resnet18", pretrained=True)),
        dict(model=dict(type="VisionTransformer", arch=dict(num_layers=300_000))),
        dict(model=dict(type="ResNet", base_channels=10**9)),
        dict(data="a.YML"),
    ],
)
def test_what_would_run_fetch_or_swell_is_refused_wherever_it_stands(settings):
    with pytest.raises(SettingsRefusedError):
        check_run_settings(settings)


@pytest.mark.parametrize(
    "settings",
    [
        dict(model=dict(head=[dict(type="os.mkdir")])),
        dict(model=dict(type="antigravity")),
        dict(model=dict(type="antigravity.ResNet")),
        dict(optim_wrapper=dict(constructor="os.mkdir")),
        dict(custom_hooks=[dict(type="EMAHook", ema_type="os.mkdir")]),
        dict(custom_imports=dict(imports=["antigravity"])),
        dict(default_scope="antigravity"),
        dict(model=dict(_scope_="antigravity")),
    ],
)
def test_what_the_host_would_look_up_elsewhere_is_named(settings):
    with pytest.raises(SettingsRefusedError, match=r"mkdir|antigravity|subprocess"):
        check_all(settings)


@pytest.mark.parametrize(
    "dataset",
    [dict(ann_file="x.pkl"), dict(data_root="s3://x"), dict(backend_args=dict(backend="petrel"))],
)
def test_pickles_and_other_machines_are_not_read(dataset):
    with pytest.raises(SettingsRefusedError, match="dataset"):
        check_run_reads(dict(train_dataloader=dict(dataset=dataset)))


@pytest.mark.parametrize(
    ("settings", "fine"),
    [
        (dict(default_hooks=dict(checkpoint=dict(out_dir="/elsewhere"))), False),
        (dict(default_hooks=dict(checkpoint=dict(out_dir="relative"))), False),
        (dict(default_hooks=dict(checkpoint=dict(out_dir="/runs/a/kept"))), True),
        (dict(val_evaluator=dict(out_file_path="x.json")), False),
        (dict(custom_hooks=[dict(path="/runs/a/../../etc/x")]), False),
        (dict(custom_hooks=[dict(path="/runs/a/opening.txt")]), True),
        (dict(val_dataloader=dict(dataset=dict(data_root="/images"))), True),
        (dict(visualizer=dict(vis_backends=[dict(type="WandbVisBackend")])), False),
    ],
)
def test_a_run_writes_into_its_own_folder(settings, fine):
    if fine:
        check_run_paths(settings, Path("/runs/a"))
        return
    with pytest.raises(SettingsRefusedError):
        check_run_paths(settings, Path("/runs/a"))


def loader_of(kind: str, root: str) -> dict:
    return dict(train_dataloader=dict(dataset=dict(type=kind, data_root=root)))


def test_a_run_reads_the_bucket_that_its_user_names_and_nothing_else_from_elsewhere(monkeypatch):
    with pytest.raises(SettingsRefusedError, match=r"another machine .if it is yours, set XMOCO_"):
        check_run_reads(loader_of("ShardedImages", "s3://bucket/set"))
    monkeypatch.setenv("XMOCO_NAMED_SET", "s3://bucket/date=2026/a+b")
    check_run_reads(loader_of("ShardedImages", "s3://bucket/date=2026/a+b"))
    monkeypatch.setenv("XMOCO_NAMED_SET", "s3://bucket/set")
    for kind, root in (
        ("ShardedImages", "s3://attacker/set"),
        ("UnlabeledFolder", "s3://bucket/set"),  # by a backend of the host's
        ("ShardedImages", "http://host/set"),
        ("ShardedImages", "s3://key:secret@bucket/set"),
        ("ShardedImages", "s3://bucket/set?endpoint=host"),
    ):
        with pytest.raises(SettingsRefusedError, match="is on another machine"):
            check_run_reads(loader_of(kind, root))
    other = loader_of("ShardedImages", "s3://bucket/set")
    other["train_dataloader"]["dataset"]["ann_file"] = "s3://bucket/list"
    with pytest.raises(SettingsRefusedError, match="ann_file"):
        check_run_reads(other)
