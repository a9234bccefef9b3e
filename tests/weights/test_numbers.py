# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Weights that cannot be right are refused with the first tensor at fault; honest ones are not."""

import warnings
from argparse import Namespace

import pytest
import torch

from xmoco_plugin.weights import (
    CheckpointError,
    check_kinds,
    check_optimizer,
    check_weights,
    read_checkpoint,
)

from .hostile import honest

CONV, FC, VAR = "backbone.conv.weight", "backbone.fc.weight", "backbone.bn.running_var"


def infinite(tensor: torch.Tensor) -> torch.Tensor:
    return torch.where(tensor > tensor.median(), torch.inf, tensor)


def coded(tensor: torch.Tensor) -> torch.Tensor:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return torch.quantize_per_tensor(tensor, 0.1, 0, torch.qint8)


def test_honest_weights_of_every_float_type_and_their_counters_are_read(tmp_path):
    for state in (honest(), {k: v.double() for k, v in honest().items() if "weight" in k}):
        torch.save({"state_dict": state, "epoch": 3}, tmp_path / "a.pth")
        torch.save({**state, "epoch": 3, "arch": "resnet50"}, tmp_path / "b.pth")
        for name in ("a.pth", "b.pth"):
            assert read_checkpoint(tmp_path / name)["epoch"] == 3


def test_weights_that_are_tied_or_lie_in_one_piece_are_read(tmp_path):
    whole = torch.randn(4, 4)
    state = {"a.weight": whole, "b.weight": whole, "c.weight": whole[:2], "d.weight": whole.t()}
    torch.save({"state_dict": state}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth")["state_dict"]["d.weight"].shape == (4, 4)


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        (CONV, lambda t: t * torch.nan, "'backbone.conv.weight' holds 108 values that are not"),
        (FC, infinite, "'backbone.fc.weight' holds 4 values that are not finite:"),
        (
            CONV,
            lambda t: (t * 9).to(torch.int8),
            "'backbone.conv.weight' holds integers \\(int8\\)",
        ),
        ("queue", lambda t: t.long(), "'queue' holds integers \\(int64\\)"),
        (CONV, lambda t: t > 0, "integers \\(bool\\)"),
        (VAR, torch.neg, "'backbone.bn.running_var' holds variances below zero"),
        (CONV, lambda t: t.to(torch.complex64), "of type complex64"),
        (CONV, lambda t: t.to(torch.float8_e4m3fn), "of type float8_e4m3fn"),
        (FC, lambda t: t.float().to_sparse(), "layout sparse_coo"),
        (CONV, coded, "is of a quantised network"),
        (CONV, lambda t: t.to("meta"), "without values"),
        (CONV, lambda t: "a text", "'backbone.conv.weight' is a str and no tensor"),
        (CONV, lambda t: {"weight": t}, "is a dict and no tensor"),
        (CONV, lambda t: t.numpy(), "is a ndarray and no tensor"),
        (CONV, lambda t: t[:1, :1, :1, :1].expand(10**6, 10**6, 3, 3), "claims the shape"),
    ],
)
@pytest.mark.parametrize("mmap", [False, True])
def test_one_tensor_that_cannot_be_right_is_named(tmp_path, key, value, reason, mmap):
    state = honest()
    torch.save({"state_dict": state | {key: value(state[key])}}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=reason) as error:
        read_checkpoint(tmp_path / "a.pth", mmap=mmap)
    assert str(tmp_path / "a.pth") in str(error.value)
    assert "Nothing was loaded." in str(error.value)


def test_the_count_of_further_tensors_is_said():
    state = {f"{i}.weight": torch.full((2, 2), torch.nan) for i in range(1235)}
    with pytest.raises(CheckpointError, match="finite, and 1,234 further tensors do so"):
        check_weights(state)


@pytest.mark.parametrize(
    ("key", "reason"),
    [
        (5, "named '5', a int and no text"),
        ((1, "a"), "a tuple and no text"),
        ("a\x1b[31m.weight", r"'a\\x1b\[31m.weight' has characters"),
        ("a\n.weight", "not printable"),
        ("a" * 1001, "has 1,001 characters"),
    ],
)
def test_names_that_are_none_are_refused_and_never_printed_raw(key, reason):
    with pytest.raises(CheckpointError, match=reason) as error:
        check_weights({key: torch.ones(2)})
    assert str(error.value).isprintable()


def test_only_zeros_are_refused_in_the_whole_and_in_an_encoder_alone():
    whole = {k: torch.zeros_like(v) for k, v in honest().items()}
    with pytest.raises(
        CheckpointError, match=r"every matrix holds only zeros, from 'backbone\.conv"
    ):
        check_weights(whole)
    alone = {k: v * 0 if k.startswith("backbone.") else v for k, v in honest().items()}
    with pytest.raises(CheckpointError, match="every matrix under 'backbone' holds only zeros"):
        check_weights(alone)


def test_too_many_weights_are_refused_before_one_is_looked_at():
    with pytest.raises(CheckpointError, match="holds 200,001 weights, the limit is 200,000"):
        check_weights(dict.fromkeys(map(str, range(200_001)), torch.tensor(torch.nan)))


def test_an_averaged_models_weights_are_looked_at_too(tmp_path):
    averaged = {"steps": torch.tensor(3), "module.conv.weight": torch.full((2, 2), torch.inf)}
    torch.save({"state_dict": honest(), "ema_state_dict": averaged}, tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match=r"'module.conv.weight' holds 4 values"):
        read_checkpoint(tmp_path / "a.pth")


def test_integers_where_the_model_has_fractions_are_refused_whatever_their_name():
    with pytest.raises(CheckpointError, match="'centre' holds integers"):
        check_kinds(
            {"centre": torch.ones(2), "steps": torch.tensor(1)}, {"centre": torch.arange(2)}
        )
    check_kinds({"steps": torch.tensor(1)}, {"steps": torch.tensor(2)})


def test_an_optimizer_that_is_not_finite_is_no_reason_not_to_read_but_not_to_go_on(tmp_path):
    state = {0: {"momentum_buffer": torch.tensor([1.0, torch.nan])}, 1: {"step": torch.ones(1)}}
    torch.save({"state_dict": honest(), "optimizer": {"state": state}}, tmp_path / "a.pth")
    loaded = read_checkpoint(tmp_path / "a.pth")
    with pytest.raises(CheckpointError, match="1 of the 2 tensors of its optimizer hold values"):
        check_optimizer(loaded)


def test_an_optimizer_whose_rate_is_not_finite_is_named():
    check_optimizer({"optimizer": {"param_groups": [{"lr": 0.1, "params": [0]}]}})
    with pytest.raises(CheckpointError, match="left with lr = nan"):
        check_optimizer({"optimizer": {"param_groups": [{"lr": float("nan")}]}})


def test_the_options_that_other_libraries_store_are_read_as_data(tmp_path):
    torch.save({"model": honest(), "args": Namespace(lr=0.1, out="x")}, tmp_path / "a.pth")
    assert read_checkpoint(tmp_path / "a.pth")["args"].lr == 0.1


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (torch.full((2, 2), torch.nan), "'conv.weight' holds 4 values"),
        (torch.ones(2, 2, dtype=torch.int8), "holds integers"),
        (torch.ones(2, 2).to(torch.float8_e5m2), "of type float8_e5m2"),
        (torch.zeros(2, 2), "only zeros"),
    ],
)
def test_a_safetensors_file_is_judged_by_the_same_rules(tmp_path, value, reason):
    save_file = pytest.importorskip("safetensors.torch").save_file
    save_file({"conv.weight": torch.ones(2, 2)}, tmp_path / "good.safetensors")
    state = read_checkpoint(tmp_path / "good.safetensors")["state_dict"]
    assert state["conv.weight"].sum() == 4
    save_file({"conv.weight": value}, tmp_path / "a.safetensors")
    with pytest.raises(CheckpointError, match=reason):
        read_checkpoint(tmp_path / "a.safetensors")
