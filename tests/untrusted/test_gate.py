# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A stranger's settings build registered classes, and do nothing else."""

import copy
import sys
from importlib.util import find_spec

import pytest
from mmpretrain.registry import MODELS

from xmoco_plugin.untrusted import (
    NotLiteral,
    SettingsRefusedError,
    check_model_settings,
    check_run_settings,
)

MODEL = dict(
    type="MoCo",
    queue_len=64,
    feat_dim=8,
    momentum=0.001,
    backbone=dict(
        type="mmpretrain.ResNet", depth=18, norm_cfg=dict(type="BN"), strides=(1, 2, 2, 2)
    ),
    neck=dict(type="MoCoV2Neck", in_channels=512, hid_channels=8, out_channels=8),
    head=dict(type="ContrastiveHead", loss=dict(type="CrossEntropyLoss")),
    data_preprocessor=dict(type="SelfSupDataPreprocessor", mean=[1.5], std=[1], to_rgb=True),
)
FILE = "/somewhere/epoch_1.pth"


def with_(place: str, value) -> dict:
    """The model's settings with another value at 'a.b'."""
    settings = copy.deepcopy(MODEL)
    *path, last = place.split(".")
    inner = settings
    for name in path:
        inner = inner[name]
    inner[last] = value
    return settings


def test_an_honest_model_passes_as_it_is():
    assert check_model_settings(dict(model=MODEL)) == dict(model=MODEL)


@pytest.mark.parametrize(
    "value",
    [
        "os.mkdir",
        "os",  # a name without a dot is imported too
        "foo.Bar",  # imports foo.registry
        "mmengine.utils.misc.import_modules_from_string",
        "mmpretrain.models.backbones.base_backbone.nothing",
        "torch.hub.load",
        "ResNet ",
        "mmseg.os.mkdir",
        "LoadImageFromFile",  # registered, and no part of a model
        "CheckpointHook",
        "Runner",
        "",
        5,
        ("ResNet",),
        print,
        NotLiteral("os.mkdir"),
        "x" * 10_000,
    ],
)
@pytest.mark.parametrize(
    "place", ["type", "backbone.type", "head.loss.type", "backbone.norm_layer"]
)
def test_a_type_that_is_not_registered_is_named_and_not_imported(place, value):
    before = set(sys.modules)
    with pytest.raises(SettingsRefusedError, match="no registered class") as error:
        check_model_settings(dict(model=with_(place, value)), FILE)
    assert str(error.value).startswith(f"{FILE}: model.{place}: type ")
    assert "--config" in str(error.value)
    assert "\n" not in str(error.value)
    if isinstance(value, str) and len(value) < 100:
        assert value in str(error.value)
    assert {"foo", "foo.registry", "antigravity"}.isdisjoint(set(sys.modules) - before)


def test_types_are_found_at_any_depth_of_lists_and_tuples():
    for inside in ([dict(type="os.mkdir")], ((dict(a=[dict(type="os.mkdir")]),),)):
        with pytest.raises(SettingsRefusedError, match=r"type 'os.mkdir' is no registered class"):
            check_model_settings(dict(model=with_("neck.layers", inside)))


def test_a_registered_class_by_its_path_gets_its_registered_name():
    # As configs in pure Python are stored: under the name that they imported it by.
    for path in ("mmpretrain.models.ResNet", "mmpretrain.models.backbones.resnet.ResNet"):
        checked = check_model_settings(dict(model=with_("backbone.type", path)))
        assert checked["model"]["backbone"]["type"] == "mmpretrain.ResNet"
    written = NotLiteral("torch.nn.modules.activation.GELU")  # how a class itself is written
    assert check_model_settings(dict(type=written)) == dict(type="mmengine.GELU")


@pytest.mark.parametrize(
    ("place", "value", "message"),
    [
        ("_base_", "x.py", "have none"),
        ("backbone._delete_", True, "have none"),
        ("custom_imports", dict(imports=["os"]), "have none"),
        ("backbone._scope_", "os", "none of mmpretrain"),
        ("backbone._scope_", ["mmdet"], "none of mmpretrain"),
        ("backbone.arch", "{{ fileDirname }}", "template"),
        ("backbone.arch", "/etc/passwd", "could be the name of a file"),
        ("backbone.arch", "weights.pth", "could be the name of a file"),
        ("backbone.model_name", "hf-hub:someone/net", "could be the name of a file"),
        ("backbone.checkpoint_path", "weights", "names something to be read"),
        ("neck.tokenizer_path", "http://host/x", "names something to be read"),
        ("head.loss.class_weight", "weights", "names something to be read"),
        ("head.prototype", "vectors", "names something to be read"),
        ("backbone.type", "CLIPGenerator", "may read files"),
        ("backbone.type", "HuggingFaceClassifier", "may read files"),
        ("backbone.type", "Blip2Caption", "may read files"),
        ("test_cfg", dict(nms=dict(type="__import__('os').mkdir")), "no registered class"),
        ("backbone.depth", NotLiteral("f()"), "no number, text, list or dict"),
        ("backbone.depth", print, "no number, text, list or dict"),
        ("backbone.depth", b"18", "no number, text, list or dict"),
        ("neck.layers", [1] * 300_000, "more than 200,000 settings"),
        ("neck.x\x1b[31m", "a/b", r"'x\\x1b\[31m'"),
    ],
)
def test_what_reads_fetches_imports_or_swells_is_refused(place, value, message):
    with pytest.raises(SettingsRefusedError, match=message) as error:
        check_model_settings(dict(model=with_(place, value)), FILE)
    assert str(error.value).isprintable()


def test_settings_too_deep_are_refused_and_do_not_exhaust_the_stack():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(SettingsRefusedError, match="too deep"):
        check_model_settings(dict(model=deep))


def test_what_the_weights_replace_is_dropped_at_any_depth():
    init = dict(type="os.mkdir", checkpoint="/x.pth")
    settings = with_("backbone.init_cfg", [init])
    settings["pretrained"] = "torchvision://resnet18"
    settings["neck"]["layers"] = [dict(type="Conv2d", init_cfg=init, pretrained=True)]
    expected = with_("neck.layers", [dict(type="Conv2d")])
    assert check_model_settings(dict(model=settings)) == dict(model=expected)


@pytest.mark.parametrize("settings", [[], 5, dict(a=object()), {("a",): 1}, {True: 1}])
def test_settings_of_a_wrong_kind_are_refused_in_a_sentence(settings):
    with pytest.raises(SettingsRefusedError, match=r"is no dict|is no number|is no name"):
        check_model_settings(settings)


def test_what_has_passed_is_built_and_what_a_scope_names_is_looked_up_there():
    checked = check_model_settings(MODEL)
    assert type(MODELS.build(checked)).__name__ == "MoCo"
    scoped = dict(type="DetDataPreprocessor")
    with pytest.raises(SettingsRefusedError):
        check_model_settings(scoped)
    if find_spec("mmdet"):
        assert check_model_settings({**scoped, "_scope_": "mmdet"}) == {
            **scoped,
            "_scope_": "mmdet",
        }
        assert check_model_settings(dict(type="mmdet.L1Loss")) == dict(type="mmdet.L1Loss")


RUN = dict(
    default_scope="mmpretrain",
    custom_imports=dict(imports=["xmoco_plugin"], allow_failed_imports=False),
    model={k: v for k, v in MODEL.items() if k != "data_preprocessor"},
    train_dataloader=dict(
        sampler=dict(type="DefaultSampler", shuffle=True),
        collate_fn=dict(type="default_collate"),
        dataset=dict(
            type="ListedImages",
            ann_file="/home/me/my photos/files.txt",
            pipeline=[dict(type="LoadImageOrSkip"), dict(type="torchvision/RandomCrop", size=8)],
        ),
    ),
    optim_wrapper=dict(type="OptimWrapper", optimizer=dict(type="SGD", lr=0.1)),
    default_hooks=dict(checkpoint=dict(type="CheckpointHook", interval=1)),
    custom_hooks=[dict(type="OpeningHook", path="/home/me/opening.txt")],
    visualizer=dict(type="Visualizer", vis_backends=[dict(type="JsonLinesVisBackend")]),
    load_from="/home/me/weights.pth",
)


def test_an_honest_run_passes_with_its_paths():
    assert check_run_settings(RUN) == RUN


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (dict(custom_imports=dict(imports=["os"])), "'os' is not xmoco_plugin"),
        (dict(custom_imports="xmoco_plugin_evil"), "is not xmoco_plugin"),
        (dict(custom_imports=dict(imports=[["os"]])), "is not xmoco_plugin"),
        (dict(default_scope="os"), "none of mmpretrain"),
        (dict(custom_hooks=[dict(type="os.mkdir")]), "custom_hooks.*type 'os.mkdir'"),
        (dict(custom_hooks=[dict(type="RFSearchHook")]), "may read files"),
        (dict(visualizer=dict(vis_backends=[dict(type="MLflowVisBackend")])), "may read files"),
        (dict(optim_wrapper=dict(constructor="os.mkdir")), "constructor: type 'os.mkdir'"),
        (dict(runner_type="os.mkdir"), "runner_type: settings that come with data have none"),
        (dict(train_dataloader=dict(dataset=dict(ann_file="a.PKL"))), "may be a pickle"),
        (dict(work_dir="{{ fileDirname }}"), "template"),
        (dict(a=dict(type="torchvision/ToTensor", dtype="x; f()")), "no type of numbers"),
        (dict(_base_="x.py"), "have none"),
    ],
)
def test_a_run_that_would_do_more_than_train_is_refused(change, message):
    with pytest.raises(SettingsRefusedError, match=message):
        check_run_settings({**RUN, **change}, FILE)
