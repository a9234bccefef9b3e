# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
import pytest
import torch


@pytest.fixture
def nothing_compiled_before():
    """Forgets what other tests compiled: torch compiles one code so many times and no more."""
    torch.compiler.reset()
    yield
    torch.compiler.reset()
