# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""A config's text is formatted once: the host has yapf do so for its log, its file and each
checkpoint, two thirds of the time of a tiny run. What comes out is the same.
"""

import functools
import sys

import pytest


def install() -> None:
    """Lets the host's config take what yapf made of the same text before in this process."""
    from yapf.yapflib import yapf_api

    if hasattr(yapf_api.FormatCode, "cache_info"):
        return
    formatted = yapf_api.FormatCode

    @functools.lru_cache(maxsize=64)
    def once(text: str, style: tuple) -> tuple:
        return formatted(text, style_config=dict(style))

    @functools.wraps(formatted)
    def format_code(text: str, style_config: dict, **options):
        if options:
            return formatted(text, style_config=style_config, **options)
        return once(text, tuple(style_config.items()))

    format_code.cache_info = once.cache_info
    yapf_api.FormatCode = format_code
    config = sys.modules.get("mmengine.config.config")
    if hasattr(config, "FormatCode"):  # where it is imported at the top
        config.FormatCode = format_code


def leave_unformatted(patch: pytest.MonkeyPatch) -> None:
    """Lets the host write configs as they are before yapf, for tests that write many."""
    install()
    plain = lambda text, **_: (text, True)  # noqa: E731
    patch.setattr("yapf.yapflib.yapf_api.FormatCode", plain)
    patch.setattr("mmengine.config.config.FormatCode", plain, raising=False)
