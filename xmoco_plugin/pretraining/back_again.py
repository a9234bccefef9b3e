# Copyright (c) xmoco_plugin contributors. Licensed under Apache-2.0.
"""What a run that began with a detector hands on besides: a way back, how images are given."""

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config

from ..export import read_weights
from ..untrusted import printable
from .run_folder import FIRST

BACK = """
## Back into the detector

This run began with the backbone of {detector}. The line writes that checkpoint once more with the
backbone of this run; its neck and heads stay as they are:

```bash
{python} -m xmoco export {folder_quoted} {back} --into {detector_quoted}
```
"""


def way_back(folder: Path, texts: Mapping[str, Any]) -> str:
    """The line that puts the backbone into the detector that the run began with; empty for none.

    Args:
        folder: Of the run.
        texts: With ``python`` and ``folder_quoted``.
    """
    first = folder / FIRST
    meta = read_weights(first).get("meta") if first.is_file() else None
    detector = meta.get("detector") if isinstance(meta, dict) else None
    if not isinstance(detector, str) or not detector.isprintable():
        return ""
    path = Path(detector)
    return BACK.format(
        python=texts["python"],
        folder_quoted=texts["folder_quoted"],
        detector=printable(path.name),
        detector_quoted=shlex.quote(detector),
        back=shlex.quote(str(folder / f"continued_{path.stem}.pth")),  # a torch file, always
    )


def with_inputs(text: str, cfg: Config) -> str:
    """A config for fine-tuning, with the images given as the run got them, if not ImageNet's way.

    Args:
        text: Of the config.
        cfg: Of the run.
    """
    found = cfg.get("data_preprocessor") or {}
    if "bgr_to_rgb" not in found:  # which choices.inputs alone leaves there
        return text
    seen = ", ".join(f"{name}={found[name]!r}" for name in ("mean", "std", "bgr_to_rgb"))
    if "\nmodel = " in text:
        return f'{text}model["data_preprocessor"] = dict({seen})\n'
    return f"{text}model = dict(data_preprocessor=dict({seen}))\n"
