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


@pytest.mark.parametrize("kind", ["ResNet", "mmpretrain.ResNet", "XMoCo", "mmengine.LoggerHook"])
def test_registered_names_pass(kind):
    check_run_settings(dict(model=[dict(type=kind)], custom_imports=dict(imports=["xmoco_plugin"])))


@pytest.mark.parametrize(
    "settings",
    [
        dict(model=dict(head=[dict(type="os.mkdir")])),
        dict(model=dict(type="antigravity")),
        dict(model=dict(type="antigravity.ResNet")),
        dict(optim_wrapper=dict(constructor="os.mkdir")),
        dict(runner_type="subprocess.call"),
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
