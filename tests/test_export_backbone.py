# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""tools/export_backbone.py: what it reads, what it writes, what it refuses."""

import hashlib
import json
import os

import pytest
import torch
from torch import nn

from xmoco_plugin.checkpoint import read_checkpoint
from xmoco_plugin.export import TARGETS, read_weights
from xmoco_plugin.export.record import model_text
from xmoco_plugin.untrusted import read_settings

from .export.backbones import run_tool, save, xmoco

R18 = dict(type="ResNet", depth=18)


class RunsACommand:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(scope="module")
def r18(tmp_path_factory):
    return save(xmoco(R18), tmp_path_factory.mktemp("r18") / "epoch_200.pth", R18)


def refused(monkeypatch, capsys, tmp_path, source, *arguments) -> str:
    """The tool ends with status 2 and leaves no file; returns what it says."""
    before = sorted(tmp_path.iterdir())
    target = arguments or ("--to", "torchvision")
    assert run_tool(monkeypatch, source, tmp_path / "out.pth", *target) == 2
    assert sorted(tmp_path.iterdir()) == before
    return capsys.readouterr().err


@pytest.mark.parametrize("target", TARGETS)
def test_a_file_holds_weights_and_a_record_and_opens_without_code(
    r18, tmp_path, monkeypatch, capsys, target
):
    safe = target == "safetensors"
    if safe:
        pytest.importorskip("safetensors")
    out = tmp_path / ("out.safetensors" if safe else "out.pth")
    assert run_tool(monkeypatch, r18, out, "--to", target) == 0
    said = capsys.readouterr().out
    digest = hashlib.sha256(r18.read_bytes()).hexdigest()
    if safe:
        from safetensors import safe_open

        with safe_open(out, "pt") as file:
            record = {**file.metadata(), "epoch": int(file.metadata()["epoch"])}
            record["dataset_meta"] = json.loads(record["dataset_meta"])
            weights = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    else:
        content = torch.load(out, weights_only=True)
        record = content["meta"]
        weights = content["model" if target == "detectron2" else "state_dict"]
    assert all(isinstance(value, torch.Tensor) for value in weights.values())
    assert len(weights) == (100 if target == "detectron2" else 120)
    facts = ("source_sha256", "config", "epoch", "dataset", "layout", "architecture", "source")
    assert [record[name] for name in facts] == [
        *(digest, "xmoco_r50_8xb32", 200, "UnlabeledFolder", "mmpretrain", "resnet18"),
        r18.name,
    ]
    assert record["dataset_meta"] == {"classes": ["a", "b"]}
    assert str(r18.parent) not in str(record)
    assert read_settings(record["cfg"]) == {"model": dict(type="XMoCo", backbone=R18)}
    # Weights only: no queue, no key encoder, no memory shared with them.
    assert out.stat().st_size < 1.02 * sum(v.nbytes for v in weights.values()) + 60_000
    for part in ("layout:   mmpretrain, query encoder, keys backbone.*", "resnet18", digest[:12]):
        assert part in said
    assert f"{len(weights)} keys for {target}" in said
    assert "encoder_k.module" in said.split("left out")[1]


def test_the_model_in_a_record_names_no_file_of_the_machine_it_is_from():
    init = dict(type="Pretrained", checkpoint="/home/me/secret.pth")
    layers = (dict(type="Conv2d", init_cfg=init),)
    backbone = dict(R18, init_cfg=init, pretrained="/home/me/secret.pth")
    settings = dict(
        model=dict(type="MoCo", backbone=backbone, neck=dict(layers=layers)),
        data_preprocessor=dict(mean=[1.5]),
        work_dir="/home/me/secret",
    )
    assert read_settings(model_text(settings)) == dict(
        model=dict(type="MoCo", backbone=R18, neck=dict(layers=(dict(type="Conv2d"),))),
        data_preprocessor=dict(mean=[1.5]),
    )


def test_the_key_encoder_is_exported_on_demand(r18, tmp_path, monkeypatch):
    out = tmp_path / "out.pth"
    run = run_tool(monkeypatch, r18, out, "--to", "torchvision", "--encoder", "key")
    assert run == 0
    stored = read_checkpoint(r18)["state_dict"]["encoder_k.module.0.layer1.0.conv1.weight"]
    ours = read_checkpoint(out)["state_dict"]["layer1.0.conv1.weight"]
    assert torch.equal(ours, stored)
    query = read_checkpoint(r18)["state_dict"]["backbone.layer1.0.conv1.weight"]
    assert not torch.equal(ours, query)


@pytest.mark.parametrize("target", ["mmpretrain", "torchvision", "timm", "safetensors", "mmseg"])
def test_every_layout_comes_back_bit_for_bit(r18, tmp_path, monkeypatch, target):
    ending = "pth"
    if target == "safetensors":
        pytest.importorskip("safetensors")
        ending = "safetensors"
    there, back = tmp_path / f"there.{ending}", tmp_path / "back.pth"
    assert run_tool(monkeypatch, r18, there, "--to", target) == 0
    assert run_tool(monkeypatch, there, back, "--to", "mmpretrain") == 0
    before, after = read_checkpoint(r18)["state_dict"], read_checkpoint(back)["state_dict"]
    ours = {key: value for key, value in before.items() if key.startswith("backbone.")}
    assert after.keys() == ours.keys()
    assert all(torch.equal(after[key], value) for key, value in ours.items())


def test_a_detectors_checkpoint_is_refused(r18, tmp_path, monkeypatch, capsys):
    state = read_checkpoint(r18)["state_dict"]
    state["roi_head.bbox_head.fc_cls.weight"] = state["rpn_head.rpn_conv.weight"] = torch.ones(1)
    torch.save(dict(state_dict=state, meta={}), tmp_path / "in.pth")
    message = refused(monkeypatch, capsys, tmp_path, tmp_path / "in.pth")
    assert "detector or segmentor (it has roi_head, rpn_head)" in message
    assert str(tmp_path / "in.pth") in message


def test_text_truncated_missing_and_hostile_files_are_refused(r18, tmp_path, monkeypatch, capsys):
    marker = tmp_path / "marker"
    text, cut, hostile = tmp_path / "text.pth", tmp_path / "cut.pth", tmp_path / "hostile.pth"
    text.write_text("<html>404</html>\n")
    cut.write_bytes(r18.read_bytes()[:100_000])
    torch.save({"state_dict": {}, "x": RunsACommand(f"touch {marker}")}, hostile)
    for file, reason in (
        (text, "is a text file that begins"),
        (cut, "is cut off"),
        (hostile, "system, which could do anything"),
        (tmp_path / "none.pth", "There is no checkpoint"),
    ):
        assert reason in refused(monkeypatch, capsys, tmp_path, file)
    assert not marker.exists()


def test_safetensors_that_are_none_are_refused(tmp_path):
    pytest.importorskip("safetensors")
    (tmp_path / "a.safetensors").write_bytes(b"\x08" + bytes(40))
    with pytest.raises(ValueError, match="no whole safetensors file"):
        read_weights(tmp_path / "a.safetensors")


def change(r18, tmp_path, edit, **backbone):
    checkpoint = read_checkpoint(r18)
    edit(checkpoint["state_dict"])
    checkpoint["meta"]["cfg"] = f"model = dict(backbone={R18 | backbone})"
    torch.save(checkpoint, tmp_path / "in.pth")
    return tmp_path / "in.pth"


@pytest.mark.parametrize(
    ("edit", "reason"),
    [
        (lambda s: s.pop("backbone.layer3.0.bn1.running_var"), "layer3.0.bn1.running_var"),
        (
            lambda s: s.update({"backbone.extra.weight": torch.ones(1)}),
            "1 in the checkpoint only:\n    extra.weight",
        ),
        (
            lambda s: s.update({"backbone.layer2.0.conv1.weight": torch.ones(4, 4, 3, 3)}),
            "layer2.0.conv1.weight: checkpoint (4, 4, 3, 3), model (128, 64, 3, 3)",
        ),
        (
            lambda s: s.update({"backbone.conv1.weight": torch.ones(64, 3, 3, 3)}),
            "one for small images",
        ),
        (
            lambda s: s.update({"backbone.bn1.bias": torch.full((64,), float("nan"))}),
            "bn1.bias' holds 64 values that are not finite",
        ),
        (lambda s: [s.pop(k) for k in list(s) if k[:9] == "backbone."], "No query backbone"),
    ],
    ids=["missing", "extra", "shape", "small images", "nan", "no backbone"],
)
def test_a_backbone_that_others_do_not_have_is_refused(
    r18, tmp_path, monkeypatch, capsys, edit, reason
):
    assert reason in refused(monkeypatch, capsys, tmp_path, change(r18, tmp_path, edit))


@pytest.mark.parametrize(
    "settings",
    [dict(depth=50, style="caffe"), dict(strides=(1, 2, 2, 1)), dict(norm_cfg=dict(eps=1e-3))],
)
def test_settings_that_the_weights_do_not_show_are_not_lost(
    r18, tmp_path, monkeypatch, capsys, settings
):
    source = change(r18, tmp_path, lambda state: None, **settings)
    message = refused(monkeypatch, capsys, tmp_path, source)
    assert "computes something else than torchvision" in message
    assert next(reversed(settings)) in message
    assert run_tool(monkeypatch, source, tmp_path / "out.pth", "--to", "mmpretrain") == 0


def test_a_config_in_a_checkpoint_is_never_executed(r18, tmp_path, monkeypatch):
    marker = tmp_path / "marker"
    checkpoint = read_checkpoint(r18)
    checkpoint["meta"]["cfg"] = f"model = open({str(marker)!r}, 'w')\nimport os\n"
    torch.save(checkpoint, tmp_path / "in.pth")
    out = tmp_path / "out.pth"
    assert run_tool(monkeypatch, tmp_path / "in.pth", out, "--to", "timm") == 0
    assert not marker.exists()


def test_nothing_is_overwritten_by_mistake(r18, tmp_path, monkeypatch, capsys):
    out, content = tmp_path / "out.pth", r18.read_bytes()
    link = tmp_path / "link.pth"
    link.symlink_to(r18)
    for same in (r18, link):
        assert run_tool(monkeypatch, r18, same, "--to", "timm", "--force") == 2
        assert "is the checkpoint itself" in capsys.readouterr().err
    assert r18.read_bytes() == content
    out.write_text("precious")
    assert run_tool(monkeypatch, r18, out, "--to", "timm") == 2
    assert "add --force" in capsys.readouterr().err
    assert out.read_text() == "precious"
    # A failure leaves even a file that may be replaced.
    assert run_tool(monkeypatch, tmp_path / "none.pth", out, "--to", "timm", "--force") == 2
    assert out.read_text() == "precious"
    assert run_tool(monkeypatch, r18, out, "--to", "timm", "--force") == 0
    assert len(read_checkpoint(out)["state_dict"]) == 120


@pytest.mark.parametrize(
    ("name", "target", "reason"),
    [
        ("out.pth", "safetensors", "end in .safetensors"),
        ("out.safetensors", "timm", "end in .safetensors"),
        ("out.pkl", "detectron2", "name it .pth"),
        ("none/out.pth", "timm", "There is no folder"),
    ],
)
def test_a_misleading_name_is_refused(r18, tmp_path, monkeypatch, capsys, name, target, reason):
    assert run_tool(monkeypatch, r18, tmp_path / name, "--to", target) == 2
    assert reason in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_backbone_that_nobody_knows_is_taken_from_a_given_prefix_only(
    tmp_path, monkeypatch, capsys
):
    torch.save(
        {"state_dict": nn.ModuleDict(dict(backbone=nn.Linear(2, 2))).state_dict()},
        tmp_path / "in.pth",
    )
    to_mmpretrain = ("--to", "mmpretrain")
    message = refused(monkeypatch, capsys, tmp_path, tmp_path / "in.pth", *to_mmpretrain)
    assert "looked under 'backbone.'" in message
    assert "--prefix" in message
    given = ("--prefix", "backbone")
    message = refused(monkeypatch, capsys, tmp_path, tmp_path / "in.pth", "--to", "timm", *given)
    assert "and from other files as --to mmpretrain writes it" in message
    out = tmp_path / "o.pth"
    assert run_tool(monkeypatch, tmp_path / "in.pth", out, *to_mmpretrain, *given) == 0
    assert read_checkpoint(out)["state_dict"].keys() == {"backbone.weight", "backbone.bias"}
