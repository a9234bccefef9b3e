# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""Writes --cfg-options into a config, and says which of them do not fit it."""

import copy
import difflib
import sys
from typing import Any

from mmengine.config import Config
from mmengine.hooks import Hook

# What the host raises of an index or a key that its lists and values do not have.
UNFIT = (KeyError, TypeError, AttributeError)


def merge_options(cfg: Config, options: dict[str, Any]) -> None:
    """Writes options into a config; says which name a top-level setting that it does not have.

    Args:
        cfg: Changed in place.
        options: Values by dotted keys.

    Raises:
        ValueError: One reaches into a setting that has no such part.
    """
    for key in options:
        top = key.split(".")[0]
        if top not in cfg:
            near = difflib.get_close_matches(top, list(cfg), n=1)
            hint = f" (did you mean {near[0]!r}?)" if near else ""
            print(
                f"warning: --cfg-options {key}: the config has no {top!r}{hint}; it is added.",
                file=sys.stderr,
            )
    try:
        cfg.merge_from_dict(options)
    except UNFIT as error:
        key = next((k for k in options if not _fits(cfg, k, options[k])), " ".join(options))
        reason = str(error.args[0] if error.args else error)
        raise ValueError(
            f"--cfg-options {key}: the config has no such part, or it is no dict ({reason[:200]})."
        ) from error


def check_hooks(cfg: Config) -> None:
    """Checks that each hook of a config is one, or says which it is.

    Raises:
        ValueError: One lacks its type, or is a text, as --cfg-options leave `dict(...)`.
    """
    custom = cfg.get("custom_hooks")
    if custom is not None and not isinstance(custom, list | tuple):
        raise ValueError(f"custom_hooks is {_short(custom)}: it must be a list of hooks.")
    named = {f"custom_hooks.{place}": hook for place, hook in enumerate(custom or ())}
    for name, hook in (cfg.get("default_hooks") or {}).items():
        if hook is not None:  # which takes one of the host's out
            named[f"default_hooks.{name}"] = hook
    for name, hook in named.items():
        if isinstance(hook, Hook) or (isinstance(hook, dict) and hook.get("type")):
            continue
        raise ValueError(
            f"{name} is {_short(hook)}: a hook is a dict with its type. Write it into a config "
            "that inherits from this one, or name the keys of one that is there: --cfg-options "
            f"{name}.type=NAME."
        )


def _fits(cfg: Config, key: str, value: Any) -> bool:
    try:
        copy.deepcopy(cfg).merge_from_dict({key: value})
    except UNFIT:
        return False
    return True


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:100]}..."
