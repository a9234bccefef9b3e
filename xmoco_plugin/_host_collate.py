# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""The host's collate functions, which bear the mark that inherited configs hand them."""

from collections.abc import Sequence
from typing import Any

from mmengine.dataset import utils
from mmengine.registry import FUNCTIONS


def default_collate(data_batch: Sequence, _scope_: str | None = None) -> Any:
    """As mmengine's of this name; the mark is not for it (docs/dev/hosts.md)."""
    return utils.default_collate(data_batch)


def pseudo_collate(data_batch: Sequence, _scope_: str | None = None) -> Any:
    """As mmengine's of this name; the mark is not for it."""
    return utils.pseudo_collate(data_batch)


def register_collates() -> None:
    """Registers both in the place of mmengine's, for every Runner: the host's own tools too.

    mmengine marks each dict that a config inherits by ``package::`` with ``_scope_``, and hands a
    collate function all that is in its dict: a TypeError at the first batch.
    """
    for function in (default_collate, pseudo_collate):
        FUNCTIONS.register_module(module=function, force=True)
