# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A pytest plugin: tests for a GPU run on a CPU that stands in for one, as far as a CPU can.

``pytest -m gpu -p tests.gpu_stand_in``. Tensors say that they are on the device, streams do
nothing, JPEGs are decoded by libjpeg: what is left is the test's own code and the package's. What a
GPU alone does (CUDA graphs, a side stream of a whole run) stays skipped.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, nullcontext
from typing import Any
from unittest import mock

import pytest
import torch
from torch.overrides import TorchFunctionMode
from torchvision import io

# Ask for what only a GPU has: torch's count of captured graphs, a model's device.
ONLY_ON_A_GPU = (
    "test_five_steps_of_graphs",
    "test_on_a_gpu_the_side_stream_gives_the_losses",
    "test_on_a_gpu_the_log_names_nvjpeg",
)

BUSY = 4096  # rows of a product that is there to keep a GPU at work


class Stream:
    """Of the device that does everything at once."""

    def wait_stream(self, other: "Stream") -> None:
        """There is nothing to wait for."""

    def synchronize(self) -> None:
        """There is nothing to wait for."""


def on_cpu(value: Any) -> Any:
    """The CPU in place of a GPU."""
    if isinstance(value, torch.device):
        return torch.device("cpu") if value.type == "cuda" else value
    return "cpu" if isinstance(value, str) and value.startswith("cuda") else value


class CPUAsGPU(TorchFunctionMode):
    """What is to go to a GPU stays where it is."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        kwargs = {key: on_cpu(value) for key, value in (kwargs or {}).items()}
        if func in (torch.Tensor.cuda, torch.Tensor.pin_memory):
            return args[0]
        if getattr(func, "__name__", "") in ("matmul", "__matmul__") and len(args[0]) >= BUSY:
            return args[0]
        if kwargs.get("pin_memory"):
            kwargs["pin_memory"] = False
        return func(*map(on_cpu, args), **kwargs)


@contextmanager
def stand_in() -> Iterator[None]:
    """A CPU stands in for a GPU."""
    decode = io.decode_jpeg
    replaced = dict(
        Stream=lambda device=None: Stream(),
        current_stream=lambda device=None: Stream(),
        stream=lambda stream: nullcontext(),
        current_device=lambda: 0,
        synchronize=lambda device=None: None,
        set_sync_debug_mode=lambda mode: None,
        _sleep=lambda cycles: None,
    )
    with ExitStack() as stack:
        for name, value in replaced.items():
            stack.enter_context(mock.patch.object(torch.cuda, name, value))
        for owner, name, value in (
            (torch.Tensor, "record_stream", lambda self, stream: None),
            (torch.Tensor, "is_cuda", property(lambda self: True)),
            (io, "decode_jpeg", lambda x, mode, device="cpu": decode(x, mode, on_cpu(device))),
        ):
            stack.enter_context(mock.patch.object(owner, name, value))
        stack.enter_context(CPUAsGPU())
        yield


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests that a CPU can stand in for are not skipped."""
    for item in items:
        if not item.name.startswith(ONLY_ON_A_GPU) and item.get_closest_marker("gpu"):
            item.own_markers = [mark for mark in item.own_markers if mark.name != "skipif"]


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item):
    """The test's own code alone: fixtures have seen the CPU as it is."""
    if item.get_closest_marker("gpu"):
        with stand_in():
            return (yield)
    return (yield)
