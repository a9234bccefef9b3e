# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Checkpoints of detectors as files: what is taken of them, what is put into them, what is not."""

import copy
import re
from typing import Any

import pytest
import torch
from mmengine.config import Config
from mmpretrain.models import ConvNeXt, ResNet
from mmpretrain.registry import MODELS

from xmoco_plugin.checkpoint import CheckpointError
from xmoco_plugin.export import Backbone, find_backbone, put_into
from xmoco_plugin.export.detectors import counted, inputs_of
from xmoco_plugin.pretraining import Chooser, Facts, look_into
from xmoco_plugin.pretraining.back_again import with_inputs
from xmoco_plugin.weights import read_checkpoint

from .backbones import randomize

NECK = {"neck.fpn.weight": torch.ones(2, 3), "bbox_head.cls.weight": torch.ones(4, 2)}
RTMDET = """
model = dict(
    type='RTMDet', backbone=dict(type='ResNet', depth=18),
    data_preprocessor=dict(type='DetDataPreprocessor', mean=[103.53, 116.28, 123.675],
                           std=[57.375, 57.12, 58.395], bgr_to_rgb=False))
default_scope = 'mmdet'
"""


@pytest.fixture(scope="module")
def r18() -> dict[str, torch.Tensor]:
    return randomize(ResNet(18)).state_dict()


def detector(body: dict[str, Any], stem: str = "backbone.", **more: Any) -> dict[str, Any]:
    state = {f"{stem}{key}": value for key, value in body.items()} | NECK
    return dict(state_dict=state, meta=dict(epoch=3)) | more


def run_of(body: dict[str, Any]):
    checkpoint = {"state_dict": {f"backbone.{key}": value for key, value in body.items()}}
    return find_backbone(checkpoint), checkpoint


def written(tmp_path, content: dict[str, Any]) -> str:
    torch.save(content, tmp_path / "file.pth")
    return str(tmp_path / "file.pth")


def test_a_detectors_file_names_its_model_its_inputs_and_what_is_left_out(r18, tmp_path):
    ema = {f"module.backbone.{key}": value for key, value in r18.items()}
    file = written(tmp_path, detector(r18, meta=dict(cfg=RTMDET), ema_state_dict=ema))
    offered = look_into(file)
    assert offered.model == "resnet18"
    assert str(offered.inputs) == "BGR, mean 103.53 116.28 123.675, std 57.375 57.12 58.395"
    assert offered.note.endswith(
        "(backbone.*, 120 tensors); left out: bbox_head 1 tensor, ema_state_dict 120 tensors, "
        "neck 1 tensor"
    )
    facts = Facts(100, torch.full((100,), 64).numpy(), False, 1)
    chosen = Chooser(facts, {}, pretrained=True, offered=offered).choices
    assert (chosen.model, chosen.inputs) == ("resnet18", offered.inputs)
    given = Chooser(facts, {"model": "resnet34"}, pretrained=True, offered=offered).choices
    assert given.model == "resnet34"


def test_a_backbone_with_an_output_for_each_level_has_the_name_of_the_one_with_the_last(tmp_path):
    body = ConvNeXt("atto", out_indices=(0, 1, 2, 3)).state_dict()
    text = "model = dict(backbone=dict(type='mmpretrain.ConvNeXt', arch='atto'))"
    file = written(tmp_path, detector(body, meta=dict(cfg=f"{text}\ndefault_scope = 'mmdet'")))
    offered = look_into(file)
    assert offered.model == "ConvNeXt:atto"
    assert "left out: backbone 6 tensors, bbox_head 1 tensor" in offered.note
    deeper = body | {"stages.3.9.norm.weight": torch.ones(2)}
    with pytest.raises(CheckpointError, match=r"in the checkpoint only:\n *.*\n"):
        look_into(written(tmp_path, detector(deeper)), model="ConvNeXt:atto")


@pytest.mark.parametrize(
    "wrap",
    [
        lambda state: {"ema_state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {"state_dict": {f"module.{k}": v for k, v in state.items()}},
        lambda state: {k.replace("backbone.", "backbone.body."): v for k, v in state.items()},
        lambda state: {"state_dict": state | {"ema_backbone_conv1_weight": torch.ones(1)}},
    ],
    ids=["an average alone", "DDP", "torchvision", "mmdet 2"],
)
def test_the_backbone_of_a_detector_is_taken_as_it_is_wherever_it_stands(r18, tmp_path, wrap):
    content = wrap(detector(r18)["state_dict"])
    assert look_into(written(tmp_path, content)).model == "resnet18"
    found = find_backbone(content, of_detector=True)
    assert found.state.keys() == r18.keys()
    assert all(torch.equal(value, r18[key]) for key, value in found.state.items())
    with pytest.raises(CheckpointError, match="weights of a detector"):
        find_backbone(content)  # of a pretraining, as before


@pytest.mark.parametrize(
    ("settings", "channels"),
    [
        (
            "model = dict(data_preprocessor=dict(mean=[1, 2, 3], std=[4, 5, 6], bgr_to_rgb=True))",
            "RGB",
        ),
        ("img_norm_cfg = dict(mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True)", "RGB"),  # mmdet 2
        ("model = dict(data_preprocessor=dict(pad_size_divisor=32))", "BGR"),  # YOLOX's
    ],
)
def test_what_a_network_gets_is_read_from_the_settings_of_either_generation(settings, channels):
    found = inputs_of({"meta": {"cfg": settings}})
    assert found == inputs_of({"meta": {"config": settings}})
    values = ((1, 2, 3), (4, 5, 6)) if channels == "RGB" else ((0, 0, 0), (1, 1, 1))
    assert found == (*values, channels)
    prepared = MODELS.build(dict(type="SelfSupDataPreprocessor", **found.as_preprocessor))
    image = torch.tensor([10.0, 20, 30]).reshape(1, 3, 1, 1)
    (seen,) = prepared(dict(inputs=[image], data_samples=[]))["inputs"]
    order = image.flip(1) if channels == "RGB" else image
    expected = (order.flatten() - torch.tensor(values[0])) / torch.tensor(values[1])
    assert torch.allclose(seen.flatten(), expected)


def test_settings_that_say_nothing_of_the_inputs_leave_them_unknown():
    for text in (
        "",
        "model = dict(type='X')",
        "model = dict(data_preprocessor=dict(std=[0, 0, 0]))",
    ):
        assert inputs_of({"meta": {"cfg": text}}) is None


def test_a_backbone_goes_into_its_place_and_nothing_else_moves(r18):
    new = randomize(ResNet(18), 1).state_dict()
    old = detector({f"{key}": value for key, value in r18.items()}, "module.backbone.")
    old |= dict(optimizer={"state": {}}, message_hub=[1], ema_state_dict={"x": torch.ones(1)})
    before = copy.deepcopy(old)
    merged = put_into(old, *run_of(new), record={"source": "run"})
    assert merged.checkpoint["meta"] == {"epoch": 3, "backbone": {"source": "run"}}
    assert merged.checkpoint["message_hub"] == [1]
    assert merged.dropped == ["optimizer", "ema_state_dict"]
    assert (len(merged.replaced), merged.kept) == (120, [*NECK])
    state = merged.checkpoint["state_dict"]
    assert list(state) == list(before["state_dict"])
    assert all(torch.equal(state[f"module.backbone.{k}"], v) for k, v in new.items())
    assert all(torch.equal(old["state_dict"][k], v) for k, v in before["state_dict"].items())


def test_torchvisions_detectors_get_a_backbone_where_they_have_theirs(r18):
    body = {f"backbone.body.{k}": v for k, v in r18.items() if "num_batches" not in k}
    heads = {"backbone.fpn.x.weight": torch.ones(2), "head.classification_head.w": torch.ones(2)}
    new = randomize(ResNet(18), 1).state_dict()
    merged = put_into(body | heads, *run_of(new))
    assert list(merged.checkpoint) == [*body, *heads]  # as it came, without a state_dict around it
    assert merged.kept == [*heads]
    assert torch.equal(merged.checkpoint["backbone.body.conv1.weight"], new["conv1.weight"])


def test_norms_of_levels_that_a_pretraining_does_not_look_at_stay():
    last = {"stages.0.weight": torch.rand(2, 2), "norm1.weight": torch.rand(2)}
    levels = {key: value + 1 for key, value in last.items()} | {"norm0.weight": torch.rand(2)}
    body = Backbone(last, "found", "backbone.", "", [])
    merged = put_into(detector(levels), body, {})
    assert merged.notes == ["not in the run and kept as they were: norm0 1 tensor"]
    state = merged.checkpoint["state_dict"]
    assert torch.equal(state["backbone.norm1.weight"], last["norm1.weight"])
    assert torch.equal(state["backbone.norm0.weight"], levels["norm0.weight"])
    with pytest.raises(CheckpointError, match=r"norm_pre.weight"):  # a layer and no output's norm
        put_into(detector(levels | {"norm_pre.weight": torch.rand(2)}), body, {})


def test_a_c4_detector_keeps_the_last_stage_in_its_head(r18):
    body = {k: v for k, v in r18.items() if not k.startswith("layer4.")}
    merged = put_into(detector(body), *run_of(randomize(ResNet(18), 1).state_dict()))
    assert "layer4 of the run" in merged.notes[0]
    assert "backbone.layer4.0.conv1.weight" not in merged.checkpoint["state_dict"]


def test_images_that_a_detector_gets_otherwise_are_warned_of(r18):
    run = {"meta": {"cfg": RTMDET.replace("False", "True")}}
    (note,) = put_into(detector(r18, meta=dict(cfg=RTMDET)), run_of(r18)[0], run).notes
    assert note.startswith("warning: the detector gets its images as BGR, mean 103.53 116.28")


@pytest.mark.parametrize(
    ("detectors", "runs", "warned"),
    [
        ("depth=50, style='caffe'", "depth=50", "with style='caffe', which .* with the usual"),
        ("dilations=(1, 1, 2, 4)", "depth=50", r"with dilations=\(1, 1, 2, 4\) .* the usual"),
        ("norm_cfg=dict(type='BN', eps=1e-3)", "depth=50", "norm_cfg.eps=0.001 "),
        ("depth=50", "depth=50, style='caffe'", "with the usual layers, the run .* style='caffe'"),
        ("depth=50, style='caffe'", "depth=50, style='caffe'", None),
        ("strides=(1, 2, 2), dilations=(1, 1, 1), num_stages=3", "depth=50", None),  # C4
    ],
)
def test_a_detector_that_computes_otherwise_than_the_run_is_warned_of(r18, detectors, runs, warned):
    meta, source = (
        dict(cfg=f"model = dict(backbone=dict(type='ResNet', {settings}))")
        for settings in (detectors, runs)
    )
    notes = put_into(detector(r18, meta=meta), run_of(r18)[0], dict(meta=source)).notes
    assert len(notes) == bool(warned)
    assert not warned or re.match(f"warning: the detector computes .*{warned}", notes[0])


@pytest.mark.parametrize(
    ("target", "message"),
    [
        (lambda r18: detector(randomize(ResNet(34)).state_dict()), "another than the run's"),
        (
            lambda r18: detector({k: v.flatten()[:1] for k, v in r18.items()}),
            "conv1.weight: checkpoint",
        ),
        (lambda r18: {"state_dict": {f"backbone.{k}": v for k, v in r18.items()}}, "no detector's"),
        (lambda r18: {"state_dict": dict(NECK)}, "without a backbone"),
    ],
    ids=["deeper", "narrower", "no detector", "no backbone"],
)
def test_a_detector_with_another_backbone_or_none_is_refused(r18, target, message):
    with pytest.raises(CheckpointError, match=message):
        put_into(target(r18), *run_of(r18))


def test_a_deeper_run_is_not_cut_to_fit_a_detector(r18):
    with pytest.raises(CheckpointError, match=r"80 in the checkpoint only"):
        put_into(detector(r18), *run_of(randomize(ResNet(34)).state_dict()))


@pytest.mark.parametrize(
    ("change", "model", "message"),
    [
        (lambda d: d, "resnet34", r"backbone is another than --model resnet34:\n  80 in the model"),
        (lambda d: d, "MobileNetV2", r"in the model only"),
        (lambda d: {"state_dict": dict(NECK)}, None, "detector or segmentor without a backbone"),
        (
            lambda d: d | {"ema_state_dict": {"module.backbone.conv1.weight": torch.ones(8)}},
            None,
            r"ema_state_dict is of another network .*conv1.weight is \(8,\) and \(64, 3, 7, 7\)",
        ),
        (
            lambda d: {"state_dict": {"backbone.x.weight": torch.ones(2, 2)} | NECK},
            None,
            "has no name that is known here: name it with --model",
        ),
    ],
    ids=["depth", "family", "no backbone", "average", "unknown"],
)
def test_what_does_not_fit_is_refused_with_its_names(r18, tmp_path, change, model, message):
    with pytest.raises(CheckpointError, match=message):
        look_into(written(tmp_path, change(detector(r18))), model=model)


def test_an_onnx_or_torchscript_file_is_called_what_it_is(tmp_path):
    onnx, script = tmp_path / "a.pth", tmp_path / "b.pth"
    onnx.write_bytes(b"\x08\x08\x12\x07pytorch\x1a\x052.4.0:" + bytes(range(256)))
    torch.jit.save(torch.jit.trace(torch.nn.Linear(2, 2), torch.ones(1, 2)), script)
    for file, message in ((onnx, "is an ONNX file"), (script, "is a TorchScript file")):
        with pytest.raises(CheckpointError, match=message):
            read_checkpoint(file)


def test_many_parts_are_counted_with_the_largest_by_name():
    keys = [f"p{i}.{j}" for i in range(9) for j in range(i + 1)]
    assert counted(keys).startswith("p3 4 tensors, p4 5 tensors")
    assert counted(keys).endswith("others 6 tensors")
    assert counted([]) == "nothing"


@pytest.mark.parametrize("model", ["model = dict(neck=1)\n", ""])
def test_a_config_for_fine_tuning_gives_images_as_the_run_got_them(model):
    own = dict(mean=[1.0, 2.0, 3.0], std=[4.0, 5.0, 6.0], bgr_to_rgb=False)
    text = with_inputs(f"x = 1\n{model}", Config(dict(data_preprocessor=own | dict(type="X"))))
    assert Config.fromstring(text, ".py").model.data_preprocessor == own
    usual = dict(mean=[1.0], std=[1.0], to_rgb=True)
    assert with_inputs(model, Config(dict(data_preprocessor=usual))) == model
