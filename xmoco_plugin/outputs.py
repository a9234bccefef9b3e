# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a module of the host returns, for those who cannot ask it again."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def outputs_of(module: nn.Module | None) -> Iterator[list[Any]]:
    """Collects what a module returns while the context is open, call by call.

    Calling the module a second time would move its BatchNorm statistics and cost its time again.

    Args:
        module: any module, or None, for which nothing is collected.
    """
    outputs: list[Any] = []
    if module is None:
        yield outputs
        return
    handle = module.register_forward_hook(lambda _module, _args, output: outputs.append(output))
    try:
        yield outputs
    finally:
        handle.remove()
