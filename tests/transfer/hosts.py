# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What the transfer tests need beside the package; without it they are skipped by name."""

import pytest

from xmoco_plugin.downstream import DownstreamError, require_libraries


def _needs(scope: str) -> pytest.MarkDecorator:
    try:
        require_libraries(scope)
    except DownstreamError:
        present = False
    else:
        present = True
    return pytest.mark.skipif(
        not present,
        reason=f"{scope} and mmcv's compiled ops are not installed: make setup-transfer",
    )


needs_mmdet = _needs("mmdet")
needs_mmseg = _needs("mmseg")
