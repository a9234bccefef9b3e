# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import torch

from .backbones import R50, run_tool, save, xmoco


def test_detectron2_gets_the_keys_and_shapes_of_its_c4_and_fpn_models(tmp_path, monkeypatch):
    """Against its documented names, and its documented rule: a key fits where a model's ends so."""
    source = save(xmoco(R50), tmp_path / "in.pth", R50)
    assert run_tool(monkeypatch, source, tmp_path / "out.pth", "--to", "detectron2") == 0
    content = torch.load(tmp_path / "out.pth", weights_only=True)
    assert content["matching_heuristics"] is True
    assert content["__author__"] != "Caffe2"  # whose names would be converted once more
    found = {key: tuple(value.shape) for key, value in content["model"].items()}

    expected, channels = {}, 64

    def convolution(name: str, out: int, into: int, size: int) -> None:
        expected[f"{name}.weight"] = (out, into, size, size)
        for value in ("weight", "bias", "running_mean", "running_var"):
            expected[f"{name}.norm.{value}"] = (out,)

    convolution("stem.conv1", 64, 3, 7)
    for stage, (blocks, width) in enumerate(((3, 64), (4, 128), (6, 256), (3, 512)), start=2):
        for block in range(blocks):
            name = f"res{stage}.{block}"
            if block == 0:
                convolution(f"{name}.shortcut", 4 * width, channels, 1)
            convolution(f"{name}.conv1", width, channels, 1)
            convolution(f"{name}.conv2", width, width, 3)
            convolution(f"{name}.conv3", 4 * width, width, 1)
            channels = 4 * width
    assert found == expected
    c4 = [f"{'roi_heads' if key[:4] == 'res5' else 'backbone'}.{key}" for key in expected]
    fpn = [f"backbone.bottom_up.{key}" for key in expected]
    for model in (c4, fpn):
        fitting = [[key for key in found if name.endswith(f".{key}")] for name in model]
        assert [len(keys) for keys in fitting] == [1] * len(model)
