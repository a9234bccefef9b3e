# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import os

import pytest
import torch
from mmengine.registry import HOOKS, MODELS, DefaultScope
from mmpretrain.registry import MODELS as MMPRETRAIN_MODELS
from torch import nn

from xmoco_plugin.checkpoint import CheckpointError, read_checkpoint, sha256_of
from xmoco_plugin.export import check_arrival

from .. import tiny_runner
from ..export.backbones import needs

SMALL = dict(type="ResNet", depth=18, stem_channels=8, base_channels=8)
HOOK = dict(type="BackboneArrivalHook")
MEAN = dict(mean=[128.0] * 3, std=[64.0] * 3)
KEYS = 100  # of a ResNet-18: 20 convolutions, 20 norms of 4 values each


class RunsACommand:
    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


@pytest.fixture(scope="module")
def pretrained(tmp_path_factory):
    """A checkpoint of a real pretraining, of two epochs."""
    folder = tmp_path_factory.mktemp("pretrained")
    model = dict(
        type="XMoCo",
        data_preprocessor=dict(type="SelfSupDataPreprocessor", **MEAN),
        backbone=SMALL,
        neck=dict(type="MoCoV2Neck", in_channels=64, hid_channels=8, out_channels=8),
        head=dict(type="XMoCoHead", temperature=0.2, consistency=dict(), uniformity=dict()),
        queue_len=16,
        feat_dim=8,
    )
    tiny_runner.build(folder, model=model).train()
    return folder / "epoch_2.pth"


def init(checkpoint, **changes) -> dict:
    return dict(type="Pretrained", checkpoint=str(checkpoint), prefix="backbone.") | changes


def classifier(init_cfg: dict | None, **backbone) -> dict:
    return dict(
        type="ImageClassifier",
        data_preprocessor=dict(num_classes=4, **MEAN),
        backbone=SMALL | dict(init_cfg=init_cfg) | backbone,
        neck=dict(type="GlobalAveragePooling"),
        head=dict(type="LinearClsHead", num_classes=4, in_channels=64),
    )


def finetuning(work_dir, init_cfg, hook=HOOK, backbone=None, **options):
    """A runner that starts from a pretrained backbone; what it logs is in `runner.said`."""
    runner = tiny_runner.build(
        work_dir,
        hooks=[hook],
        model=classifier(init_cfg, **(backbone or {})),
        train_dataloader=tiny_runner.loader(views=False),
        **options,
    )
    runner.said = []
    runner.logger.info = runner.said.append
    return runner


def refused(runner) -> str:
    with pytest.raises(CheckpointError) as error:
        runner.train()
    assert runner.iter == 0
    assert not [p for p in os.listdir(runner.work_dir) if p.endswith(".pth")]
    return str(error.value)


def test_a_backbone_that_arrived_is_one_line_with_counts_and_hash(pretrained, tmp_path):
    runner = finetuning(tmp_path, init(pretrained))
    runner.train()
    lines = [str(line) for line in runner.said if "backbone weights" in str(line)]
    assert len(lines) == 1
    assert f"All {KEYS} backbone weights of epoch_2.pth" in lines[0]
    assert sha256_of(pretrained)[:12] in lines[0]
    assert "equal to the last bit" in lines[0]


def test_a_forgotten_prefix_is_an_error_with_the_line_to_write(pretrained, tmp_path):
    message = refused(finetuning(tmp_path, init(pretrained, prefix=None)))
    assert "of another value:\n    backbone.conv1.weight" in message
    assert "init_cfg has prefix=None, so no key fitted: write prefix='backbone.'" in message
    assert "... and" in message


def test_a_resnet18_into_a_resnet50_lists_both_shapes(pretrained, tmp_path):
    runner = finetuning(tmp_path, init(pretrained), backbone=dict(depth=50))
    message = refused(runner)
    assert "layer1.0.conv1.weight: checkpoint (8, 8, 3, 3), model (8, 8, 1, 1)" in message
    assert "in the model only:\n    layer1.0.conv3.weight" in message
    assert "build the backbone that was pretrained" in message


def test_one_changed_value_is_named(pretrained, tmp_path):
    runner = finetuning(tmp_path, init(pretrained))
    load = runner.load_or_resume

    def nudge():
        load()
        runner.model.backbone.layer4[1].bn2.running_mean[3] += 1e-6

    runner.load_or_resume = nudge
    message = refused(runner)
    assert f"1 of {KEYS} of another value:\n    backbone.layer4.1.bn2.running_mean" in message


def test_extra_and_missing_layers_are_errors_unless_they_are_to_be_ignored(pretrained, tmp_path):
    checkpoint = read_checkpoint(pretrained)
    state = checkpoint["state_dict"]
    del state["backbone.layer1.0.conv1.weight"]
    state["backbone.layer5.weight"] = torch.ones(1)
    torch.save(checkpoint, tmp_path / "in.pth")
    message = refused(finetuning(tmp_path / "a", init(tmp_path / "in.pth")))
    assert "1 in the model only:\n    layer1.0.conv1.weight" in message
    assert "1 in the checkpoint only:\n    layer5.weight" in message
    hook = HOOK | dict(ignore=[r"^layer5\.", r"layer1\.0\.conv1\."])
    finetuning(tmp_path / "b", init(tmp_path / "in.pth"), hook).train()


def test_no_checkpoint_at_all_is_an_error(tmp_path):
    assert "has no checkpoint to compare with" in refused(finetuning(tmp_path, None))


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (lambda p, s: p.write_text("version https://git-lfs\n"), "is a text file"),
        (lambda p, s: p.write_bytes(s.read_bytes()[:9000]), "is cut off"),
        (
            lambda p, s: torch.save({"state_dict": {"rpn_head.weight": torch.ones(1)}}, p),
            "weights of a detector or segmentor",
        ),
        (lambda p, s: torch.save({"state_dict": {"a.b": torch.ones(1)}}, p), "begin with a."),
    ],
    ids=["text", "cut", "detector", "no backbone"],
)
def test_a_file_that_is_no_pretraining_is_refused_before_the_host_opens_it(
    pretrained, tmp_path, write, reason
):
    write(tmp_path / "in.pth", pretrained)
    runner = finetuning(tmp_path / "run", init(tmp_path / "in.pth"))
    before = [p.clone() for p in runner.model.parameters()]
    assert reason in refused(runner)
    after = runner.model.parameters()
    assert all(torch.equal(a, b) for a, b in zip(before, after, strict=True))


def test_code_in_a_checkpoint_never_runs_though_the_host_would_run_it(tmp_path):
    marker = tmp_path / "marker"
    torch.save({"state_dict": {}, "x": RunsACommand(f"touch {marker}")}, tmp_path / "in.pth")
    message = refused(finetuning(tmp_path / "run", init(tmp_path / "in.pth")))
    assert "system, which could do anything" in message
    assert not marker.exists()


def test_load_from_is_what_counts_and_a_resumed_run_is_left_alone(pretrained, tmp_path):
    runner = finetuning(tmp_path / "a", None, load_from=str(pretrained))
    runner.train()
    assert any("backbone weights of epoch_2.pth" in str(line) for line in runner.said)
    resumed = finetuning(
        tmp_path / "b",
        init(pretrained),
        load_from=str(tmp_path / "a" / "epoch_1.pth"),
        resume=True,
    )
    resumed.train()
    assert any("nothing to compare" in str(line) for line in resumed.said)


def test_weights_of_torchvision_arrive_under_no_prefix_and_from_their_address(
    pretrained, tmp_path, monkeypatch
):
    state = read_checkpoint(pretrained)["state_dict"]
    body = {k.removeprefix("backbone."): v for k, v in state.items() if k[:9] == "backbone."}
    body["fc.weight"] = torch.ones(4, 64)
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    (tmp_path / "checkpoints").mkdir()
    file = tmp_path / "checkpoints" / "r18-1.pth"
    torch.save(body, file)
    model = MMPRETRAIN_MODELS.build(classifier(init(file, prefix=None)))
    model.init_weights()
    for checkpoint in (None, "https://example.org/models/r18-1.pth"):
        arrival = check_arrival(model, checkpoint)
        assert (arrival.prefix, arrival.arrived, arrival.left_out) == ("", KEYS, 0)
    with pytest.raises(CheckpointError, match="no file on this machine"):
        check_arrival(model, "https://example.org/models/r50.pth")


def test_a_backbone_cut_in_two_is_compared_as_one(pretrained):
    """As in a C4 detector, whose head holds the last stage."""
    cut = MODELS.build(dict(type="mmpretrain.ResNet") | {k: SMALL[k] for k in SMALL if k != "type"})
    whole = MMPRETRAIN_MODELS.build(SMALL | dict(init_cfg=init(pretrained)))
    whole.init_weights()
    cut.load_state_dict(whole.state_dict())
    head = nn.ModuleDict(dict(layer4=cut.layer4, norm=nn.BatchNorm2d(4)))
    del cut.layer4
    model = nn.ModuleDict(dict(backbone=cut, head=nn.ModuleDict(dict(shared=head))))
    cut.init_cfg = head.init_cfg = init(pretrained)
    new = ["shared.norm"]
    arrival = check_arrival(model, ignore=new)
    assert (arrival.parts, arrival.arrived) == (["backbone", "head.shared"], KEYS)
    with torch.no_grad():
        head["layer4"][0].conv1.weight[0] += 1
    with pytest.raises(CheckpointError, match=r"head\.shared\.layer4\.0\.conv1\.weight"):
        check_arrival(model, ignore=new)


@pytest.mark.parametrize("scope", ["mmengine", "mmdet", "mmseg"])
def test_configs_of_every_scope_find_the_hook(scope):
    if scope != "mmengine":
        needs(f"{scope}.registry")
    with DefaultScope.overwrite_default_scope(scope):
        assert type(HOOKS.build(HOOK)).__name__ == "BackboneArrivalHook"


@pytest.mark.parametrize("library", ["mmdet", "mmseg"])
def test_a_detectors_and_a_segmentors_backbone_arrive(pretrained, library):
    needs(f"{library}.models")
    backbone = SMALL | dict(init_cfg=init(pretrained))
    neck = dict(type="FPN", in_channels=[8, 16, 32, 64], out_channels=8, num_outs=5)
    head = dict(num_classes=2, in_channels=8, feat_channels=8, norm_cfg=dict(type="BN"))
    models = dict(
        mmdet=dict(type="FCOS", neck=neck, bbox_head=dict(type="FCOSHead", **head)),
        mmseg=dict(
            type="EncoderDecoder",
            decode_head=dict(type="FCNHead", in_channels=64, channels=8, num_classes=2),
        ),
    )
    with DefaultScope.overwrite_default_scope(library):
        model = MODELS.build(models[library] | dict(backbone=backbone))
    model.init_weights()
    arrival = check_arrival(model)
    assert (arrival.prefix, arrival.arrived, arrival.parts) == ("backbone.", KEYS, ["backbone"])
