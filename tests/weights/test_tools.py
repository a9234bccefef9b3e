# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Every tool and option that takes weights, with every kind of weights that must not be taken."""

from pathlib import Path

import pytest
import torch

from ..test_eval_knn import write_config
from ..tool_modules import import_tool, run_tool
from ..tools_config import draw as draw_images
from ..transfer import drawn
from ..transfer.hosts import needs_mmdet
from ..transfer.small import DETECTOR, ROOT
from .hostile import Code, honest, with_code
from .server import serving

CONV = "backbone.conv.weight"


def changed(change) -> dict:
    return {"state_dict": {k: change(v) if "weight" in k else v for k, v in honest().items()}}


# Kind of file: what it holds, what is said of it.
KINDS = {
    "code": (lambda mark: {"state_dict": honest(), "x": Code(mark)}, "could do anything"),
    "nan": (lambda mark: changed(lambda v: v * torch.nan), f"'{CONV}' holds 108 values"),
    "infinite": (lambda mark: changed(lambda v: v + torch.inf), "values that are not finite"),
    "int8": (lambda mark: changed(lambda v: v.to(torch.int8)), "holds integers (int8)"),
    "zeros": (lambda mark: changed(torch.zeros_like), "holds only zeros"),
    "text": (lambda mark: changed(lambda v: "weights"), f"'{CONV}' is a str"),
    "integer names": (lambda mark: {"state_dict": {1: torch.ones(2)}}, "a int and no text"),
    "no dict": (lambda mark: {"state_dict": [1]}, "'state_dict' is a list"),
}


def _train(options):
    def words(file: Path, here: Path) -> list:
        config = draw_images(here)
        return [config, "--data-root", here / "images", "--work-dir", here / "work", *options(file)]

    return words


def _of_config(*keys: str):
    return lambda file: ["--cfg-options", *(key.format(file) for key in keys)]


def _resumed(file: Path) -> list:
    (file.parent / "work").mkdir()
    (file.parent / "work" / "last_checkpoint").write_text(str(file))
    return ["--resume"]


def _detection(file: Path, here: Path) -> list:
    data = drawn.draw(here / "data", train=3, val=2)
    return ["det", ROOT / DETECTOR, "--data-root", data, "--work-dir", here / "work"]


# Tool and way: the words of its command line.
WAYS = {
    ("embed", "FILE"): lambda f, here: [f, here, "--out", here / "x.npz"],
    ("evaluate", "FILE"): lambda f, here: [f, "--data", here],
    ("eval_knn", "FILE"): lambda f, here: [write_config(here), f],
    ("test", "FILE"): lambda f, here: [write_config(here), f, "--work-dir", here / "tested"],
    **{
        ("export_backbone", to): lambda f, here, to=to: [f, here / "out.pth", "--to", to]
        for to in ("mmpretrain", "torchvision", "timm", "detectron2", "mmseg")
    },
    ("export_backbone", "safetensors"): lambda f, here: [
        *(f, here / "out.safetensors", "--to", "safetensors")
    ],
    ("pretrain", "--init"): lambda f, here: ["--data", here, "--out", here / "run", "--init", f],
    ("train", "--resume FILE"): _train(lambda f: ["--resume", f]),
    ("train", "--resume"): _train(_resumed),
    ("train", "load_from"): _train(_of_config("load_from={}")),
    ("train", "model.init_cfg"): _train(
        _of_config("model.init_cfg.type=Pretrained", "model.init_cfg.checkpoint={}")
    ),
    ("train", "model.backbone.init_cfg"): _train(
        _of_config(
            "model.backbone.init_cfg.type=Pretrained", "model.backbone.init_cfg.checkpoint={}"
        )
    ),
    ("train", "model.pretrained"): _train(_of_config("model.pretrained={}")),
    ("transfer", "FILE"): lambda f, here: [f, *_detection(f, here)],
    ("few_labels", "FILE"): lambda f, here: [f, *_detection(f, here)],
    ("few_labels", "--imagenet"): lambda f, here: [
        "scratch",
        *_detection(f, here),
        "--imagenet",
        f,
    ],
}
CASES = [
    pytest.param(
        *(tool, way, kind),
        id=f"{tool} {way}: {kind}",
        marks=[needs_mmdet] if tool in ("transfer", "few_labels") else [],
    )
    for tool, way in WAYS
    for kind in KINDS
]


@pytest.mark.parametrize(("tool", "way", "kind"), CASES)
def test_weights_that_must_not_be_taken_end_in_one_sentence(
    tool, way, kind, tmp_path, monkeypatch, capsys
):
    content, said = KINDS[kind]
    mark, file = tmp_path / "MARK", tmp_path / "epoch_1.pth"
    torch.save(content(mark), file)
    monkeypatch.chdir(tmp_path)
    words = WAYS[tool, way](file, tmp_path)
    module = import_tool(tool) if tool != "test" else _test_tool()
    before = {path for path in tmp_path.rglob("*") if path.is_file()}
    assert run_tool(module, monkeypatch, *words) == 2
    printed = capsys.readouterr()
    assert said in printed.err
    assert str(file) in printed.err
    assert "Traceback" not in printed.err
    assert not mark.exists()
    new = {path.name for path in tmp_path.rglob("*") if path.is_file()} - {p.name for p in before}
    assert not any(Path(name).suffix in (".npz", ".pth", ".safetensors") for name in new)


@pytest.mark.parametrize("way", ["load_from", "resume", "init_cfg", "pretrained", "test"])
def test_code_that_comes_from_a_url_is_not_run_by_training_nor_by_testing(
    way, tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    file, mark = with_code(tmp_path)
    with serving({"/w.pth": (200, {}, file.read_bytes())}) as (address, asked):
        url = f"{address}/w.pth"
        options = {
            "load_from": _of_config(f"load_from={url}"),
            "resume": lambda _: ["--resume", url],
            "init_cfg": _of_config(
                "model.backbone.init_cfg.type=Pretrained",
                f"model.backbone.init_cfg.checkpoint={url}",
            ),
            "pretrained": _of_config(f"model.pretrained={url}"),
        }
        if way == "test":
            words = [
                write_config(tmp_path, custom_hooks=[]),
                url,
                "--work-dir",
                tmp_path / "tested",
            ]
        else:
            words = _train(options[way])(file, tmp_path)
        module = import_tool("test" if way == "test" else "train")
        assert run_tool(module, monkeypatch, *words) == 2
    assert asked == ["/w.pth"]
    assert "mkdir, which could do anything" in capsys.readouterr().err
    assert not mark.exists()


def _test_tool():
    import_tool("common")
    return import_tool("test")
